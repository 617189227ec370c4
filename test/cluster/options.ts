/** The options of `npm run test:cluster`. Every flag has an environment variable, like the product's own settings. */
import { fileURLToPath } from 'node:url'
import { flag, list, oneOf, optional, type Settings, text, whole } from '../../common/settings.ts'

const CHART = fileURLToPath(new URL('../../charts/pod2iam', import.meta.url))

export const OPTIONS = {
  dry: flag(false, 'the same against the sandbox on this machine, with small numbers'),
  kubeconfig: optional('kubeconfig; else KUBECONFIG, else ~/.kube/config'),
  context: optional('kubeconfig context'),
  namespace: text('pod2iam-system', 'namespace to install into; made and removed by the test'),
  release: text('pod2iam', 'name of the helm release'),
  chart: text(CHART, 'the chart: a directory, archive or OCI reference'),
  values: list([], 'values files for the chart, e.g. for pull secrets'),
  imageRegistry: optional('registry of the three images; else the chart’s'),
  imageTag: optional('tag of the three images; else the chart’s'),
  previousChart: optional(
    'the chart of the previous release: the test upgrades from it and rolls back to it; without it, that is left out',
  ),
  previousTag: optional('tag of its images; else its chart’s'),
  otherRegistry: optional(
    'a second registry of the three images, for an upgrade from one to the other; without, that is left out',
  ),
  otherTag: optional('a second tag of the images of sidecar and node guard, likewise'),
  changes: list([], 'values that are upgraded and rolled back, by the names in changes.ts; else all'),
  pullSecret: optional(
    'NAMESPACE/NAME of a Secret with the registry’s credentials; copied to the namespaces of the test',
  ),
  nodeImage: optional('image with Node and iproute2 for the test’s own pods; else the node guard’s'),
  nodeCommand: optional('Node in that image; else /nodejs/bin/node'),
  aws: oneOf(
    ['auto', 'real', 'stand-in'],
    'auto',
    'auto: real where nodes are EC2 instances, else a stand-in on every node',
  ),
  role: optional('ARN of a role that trusts the node role; needed with real AWS'),
  jobs: whole(200, [1, 10_000], 'Jobs of the churn'),
  parallel: whole(20, [1, 200], 'of them at the same time'),
  starts: whole(
    0,
    [0, 1000],
    'pods of each kind whose start is measured, one at a time; the clocks of nodes and of this machine must agree',
  ),
  compareWith: optional(
    'program of a kube2iam beside which `--starts` measures; npm run test:kubernetes only',
  ),
  mayReboot: flag(false, 'one node may be rebooted'),
  bootReboots: whole(
    0,
    [0, 50],
    'how often a node that loads rules at its boot is rebooted; npm run test:kubernetes only',
  ),
  bootBackend: oneOf(['nft', 'iptables'], 'nft', 'those rules'),
  installed: flag(
    false,
    'test the pod2iam that is installed, changing nothing about it; upgrade, outages and uninstall are left out',
  ),
  only: list([], 'groups of promises, by a word of their titles; installing and removing happen anyway'),
  waitSeconds: whole(300, [5, 3600], 'longest wait for one thing'),
  clean: flag(false, 'only remove what an earlier run left behind'),
} as const

export type Options = Settings<typeof OPTIONS>
