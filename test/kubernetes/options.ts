/** The options of `npm run test:kubernetes`: those of `npm run test:cluster`, and the ones below. */
import { oneOf, optional, whole } from '../../common/settings.ts'
import { OPTIONS } from '../cluster/options.ts'

export const KUBERNETES_OPTIONS = {
  ...OPTIONS,
  bootReboots: whole(10, [0, 50], 'how often a node that loads rules at its boot is rebooted'),
  kubernetes: oneOf(
    ['newest', 'oldest'],
    'newest',
    'newest, or the oldest that the chart admits; `.ci/peers` builds either',
  ),
  cgroups: oneOf(
    ['machine', 'v2'],
    'machine',
    'machine: nodes have cgroups as this machine has them; v2: nodes have cgroup v2, where the machine keeps its controllers in v1 without limits of memory and processor time',
  ),
  logs: optional('directory into which the logs of all programs are copied at the end'),
} as const
