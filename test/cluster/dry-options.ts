/** The options of the dry mode: small numbers, and images that are commands of this machine. */
import { DRY_IMAGES } from './access/dry.ts'
import type { Options } from './options.ts'

export function dryOptions(given: Options): Options {
  return {
    ...given,
    dry: true,
    imageRegistry: DRY_IMAGES.registry,
    imageTag: DRY_IMAGES.tag,
    otherRegistry: DRY_IMAGES.otherRegistry,
    otherTag: DRY_IMAGES.otherTag,
    previousChart: 'test/previous-release/recorded',
    previousTag: DRY_IMAGES.previousTag,
    nodeImage: undefined,
    nodeCommand: undefined,
    // The sandbox's own AWS answers at the metadata address; the stand-in takes its place, as it would elsewhere.
    aws: 'stand-in',
    starts: 2,
    jobs: Math.min(given.jobs, 10),
    parallel: Math.min(given.parallel, 3),
    waitSeconds: Math.min(given.waitSeconds, 60),
  }
}
