/** What the test process and the API server process send to each other: configuration on stdin, control over a unix socket. */
import type { FaultRule } from './faults.ts'

export type ListenAddress = { readonly host: string; readonly port: number }

/** One line of JSON on stdin; the server ends when stdin does. */
export type ServerConfig = {
  readonly directory: string
  readonly listen: readonly ListenAddress[]
  readonly certPem: string
  readonly keyPem: string
  readonly caPem: string
  readonly adminToken: string
  readonly issuer: string
  readonly apiAudiences: readonly string[]
  readonly clockOffsetMs: number
  readonly bookmarkMs: number
  readonly controllers: boolean
}

/** One line of JSON on stdout when the server is ready. */
export type Ready = { readonly listen: readonly ListenAddress[] }

export type ControlCommand =
  | { readonly command: 'fault'; readonly rule: FaultRule }
  | { readonly command: 'clearFaults' }
  | { readonly command: 'refuse' }
  | { readonly command: 'accept' }
  | { readonly command: 'restart'; readonly downMs: number; readonly keepHistory: boolean }
  | { readonly command: 'cutWatches'; readonly how: 'clean' | 'reset' | 'expired' }
  | { readonly command: 'bookmark' }
  | { readonly command: 'compact' }
  | { readonly command: 'rotateKeys'; readonly keepOld: boolean }
  | { readonly command: 'dropOldKeys' }
  | { readonly command: 'clock'; readonly offsetMs: number }
  | { readonly command: 'calls'; readonly clear: boolean }
  | { readonly command: 'judged' }
  | { readonly command: 'watches' }

/** File names in the server's directory. They are short, because a unix socket's path has at most 107 bytes. */
export const API_SOCKET = 'api.sock'
export const CONTROL_SOCKET = 'control.sock'
/** Created by the node's kubelet stand-in. */
export const KUBELET_SOCKET = 'kubelet.sock'
