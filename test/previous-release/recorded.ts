/** Reads the recorded release. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Admission } from './admissions.ts'
import { RECORDED } from './programs.ts'
import type { SharedFiles } from './shared-files.ts'
import type { CommandLine } from './surface.ts'
import type { RawAnswer } from './wire.ts'

const read = (name: string) => JSON.parse(readFileSync(join(RECORDED, name), 'utf8'))

export const RELEASE: { readonly version: string; readonly commit: string } = read('release.json')
export const recordedPods = (): readonly Admission[] => read('pods.json')
export const sidecarRequests = (): readonly string[] => read('sidecar-requests.json')
export const brokerAnswers = (): readonly RawAnswer[] => read('broker-answers.json')
export const sharedFiles = (): readonly SharedFiles[] => read('shared-files.json')
export const commandLines = (): readonly CommandLine[] => read('command-lines.json')
/** What helm renders of its chart with `test/chart/sets/sandbox.yaml`, YAML. */
export const installed = (): string => readFileSync(join(RECORDED, 'installed.yaml'), 'utf8')
/** Its admission policies, YAML. */
export const policies = (): string => readFileSync(join(RECORDED, 'policies.yaml'), 'utf8')
export const metricNames = (): readonly string[] => read('metrics.json')
