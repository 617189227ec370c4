/**
 * The chart's Grafana dashboard: `node test/chart/dashboard/dashboard.ts` writes it again. It answers the questions of an operator: is every node protected, do
 * pods get their credentials, does admission work, what is running.
 */
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { CHART } from '../helm.ts'
import { DATASOURCE, lines, list, NONE_IS_GOOD, NONE_IS_USUAL, placed, type Row, stat } from './panels.ts'

export const DASHBOARD_FILE = `${CHART}/files/grafana/pod2iam.json`

/** Selects the nodes that the viewer has chosen. */
const NODE = 'node=~"$node"'
const enforcing = `pod2iam_firewall_info{mode="enforce", ${NODE}}`

const ROWS: readonly Row[] = [
  {
    title: 'Is every node protected?',
    panels: [
      stat(
        'Nodes with proven block',
        'Firewalls that have read back the rules that block the metadata endpoint, and know of nothing that bypasses them.',
        `count(pod2iam_firewall_block_verified{${NODE}} == 1) or vector(0)`,
      ),
      stat(
        'Nodes not verified',
        'Nodes that should enforce but cannot prove the block: pods there may be able to use the role of the node.',
        `count(pod2iam_firewall_block_verified{${NODE}} == 0 and on (instance) ${enforcing}) or vector(0)`,
        { thresholds: NONE_IS_GOOD },
      ),
      stat(
        'Nodes without guard',
        'Ready Linux nodes from which no firewall is scraped. Needs kube-state-metrics.',
        'count(max by (node) (kube_node_info{os_image!~"Windows.*", provider_id!~"eks-hybrid:.*", node!~"fargate-.*"}) and on (node) (kube_node_status_condition{condition="Ready", status="true"} == 1) unless on (node) pod2iam_firewall_block_verified) or (0 * count(kube_node_info))',
        { thresholds: NONE_IS_GOOD, noValue: 'no kube-state-metrics' },
      ),
      stat(
        'Nodes in audit',
        'Nothing is blocked there; what would be blocked is counted.',
        `count(pod2iam_firewall_info{mode="audit", ${NODE}}) or vector(0)`,
        { thresholds: NONE_IS_USUAL },
      ),
      stat(
        'Injector replicas',
        'If there is none, pods that ask for a role are refused.',
        'count(pod2iam_build_info{component="injector"}) or vector(0)',
      ),
      stat(
        'Sessions overdue',
        'Sessions in use with less than a third of their lifetime left: 20 minutes of an hour.',
        `sum(pod2iam_broker_sessions_overdue{${NODE}})`,
        { thresholds: NONE_IS_GOOD },
      ),
      list(
        'Firing alerts',
        'docs/alerts.md has a section on each.',
        'ALERTS{alertname=~"Pod2iam.*", alertstate="firing"}',
        ['alertname', 'severity', 'node', 'pod', 'namespace'],
      ),
      list(
        'Nodes that are not protected',
        'Backend and mode of the firewalls whose block is not proven.',
        `pod2iam_firewall_info{${NODE}} and on (instance) (pod2iam_firewall_block_verified == 0)`,
        ['node', 'mode', 'backend'],
      ),
      list(
        'Warnings of firewalls',
        'Each code is in docs/troubleshooting.md.',
        `pod2iam_firewall_warning{${NODE}} == 1`,
        ['node', 'code'],
      ),
    ],
  },
  {
    title: 'Firewall',
    panels: [
      lines(
        'Packets refused',
        'Packets to the metadata endpoint, by node. Starting pods send a few to prove the block.',
        {
          '{{node}}': `sum by (node) (rate(pod2iam_firewall_packets_total{rule=~"metadata_refused|metadata_dropped", ${NODE}}[$__rate_interval]))`,
        },
        { unit: 'pps' },
      ),
      lines(
        'Rules repaired',
        'Changes by other programs that were undone, by what made the firewall check its rules.',
        {
          '{{node}} {{cause}}': `sum by (node, cause) (increase(pod2iam_firewall_repairs_total{cause!="start", ${NODE}}[$__rate_interval])) > 0`,
        },
      ),
      lines(
        'Seen in audit',
        'Addresses of pods that send requests to the metadata endpoint, directly or through kube2iam or kiam.',
        {
          '{{node}} {{via}}': `pod2iam_firewall_audit_addresses{${NODE}}`,
        },
      ),
    ],
  },
  {
    title: 'Do pods get their credentials?',
    panels: [
      lines(
        'STS calls',
        'By outcome. Denied and invalid concern single roles; throttled, node-credentials and unavailable concern the node.',
        {
          '{{outcome}}': `sum by (outcome) (rate(pod2iam_broker_sts_calls_total{${NODE}}[$__rate_interval]))`,
        },
        { unit: 'reqps' },
      ),
      lines(
        'Refusals of brokers',
        'By code; docs/troubleshooting.md explains each.',
        {
          '{{code}}': `sum by (code) (rate(pod2iam_broker_requests_total{code!="ok", ${NODE}}[$__rate_interval])) > 0`,
        },
        { unit: 'reqps' },
      ),
      lines(
        'Time to answer a request for credentials',
        'Sidecars wait for this in the background; apps do not.',
        {
          median: `histogram_quantile(0.5, sum by (le) (rate(pod2iam_broker_request_duration_seconds_bucket{${NODE}}[$__rate_interval])))`,
          p99: `histogram_quantile(0.99, sum by (le) (rate(pod2iam_broker_request_duration_seconds_bucket{${NODE}}[$__rate_interval])))`,
        },
        { unit: 's' },
      ),
      lines('Sessions and pods', 'Sessions held, and pods known, by all brokers.', {
        sessions: `sum(pod2iam_broker_sessions{${NODE}})`,
        pods: `sum(pod2iam_broker_pods{${NODE}})`,
        'waiting for STS': `sum(pod2iam_broker_sts_waiting{${NODE}})`,
        overdue: `sum(pod2iam_broker_sessions_overdue{${NODE}})`,
      }),
      lines(
        'Session look-ups',
        'Stale: a session past half of its lifetime was handed out, because STS did not give another one.',
        { '{{outcome}}': `sum by (outcome) (rate(pod2iam_broker_cache_total{${NODE}}[$__rate_interval]))` },
        { unit: 'reqps' },
      ),
      lines(
        'Silence of the API server',
        'The longest time since a broker last heard about pods or namespaces.',
        { '{{watch}}': `max by (watch) (pod2iam_broker_watch_age_seconds{${NODE}})` },
        { unit: 's' },
      ),
    ],
  },
  {
    title: 'Does admission work?',
    panels: [
      lines(
        'Admission reviews',
        'By webhook and outcome.',
        {
          '{{webhook}} {{outcome}}':
            'sum by (webhook, outcome) (rate(pod2iam_injector_reviews_total[$__rate_interval]))',
        },
        { unit: 'reqps' },
      ),
      lines(
        'Pods refused',
        'By reason; docs/troubleshooting.md explains each.',
        {
          '{{reason}}':
            'sum by (reason) (rate(pod2iam_injector_reviews_total{outcome=~"deny|error"}[$__rate_interval])) > 0',
        },
        { unit: 'reqps' },
      ),
      lines(
        'Duration of a review',
        'The API server gives up after five seconds.',
        {
          median:
            'histogram_quantile(0.5, sum by (le) (rate(pod2iam_injector_review_duration_seconds_bucket[$__rate_interval])))',
          p99: 'histogram_quantile(0.99, sum by (le) (rate(pod2iam_injector_review_duration_seconds_bucket[$__rate_interval])))',
        },
        { unit: 's' },
      ),
      lines(
        'Findings about pods',
        'InjectionMissing: annotated, but without a sidecar. GateWaiting: held back at the start for more than 30 s.',
        {
          '{{finding}}': 'max by (finding) (pod2iam_injector_pod_findings)',
        },
      ),
      lines('Pods with a sidecar', 'By the release that injected it.', {
        '{{version}}': 'max by (version) (pod2iam_injector_sidecars)',
      }),
      lines(
        'Remaining lifetime of the certificate',
        'For each replica. The built-in authority renews it after half a day.',
        { '{{pod}}': 'min by (pod) (pod2iam_injector_certificate_not_after_seconds) - time()' },
        { unit: 's' },
      ),
    ],
  },
  {
    title: 'What is running',
    panels: [
      list(
        'Versions',
        'Processes that are scraped.',
        'count by (component, version) (pod2iam_build_info)',
        ['component', 'version'],
        'processes',
      ),
      lines(
        'Memory of the injector',
        'Resident memory, by replica; the limit is 192 MiB unless you have set another one.',
        { '{{pod}}': 'max by (pod) (pod2iam_process_resident_memory_bytes)' },
        { unit: 'bytes' },
      ),
      lines('Log lines lost', 'Nothing has read the output of a container in time.', {
        'broker {{node}} {{kind}}': `sum by (node, kind) (increase(pod2iam_broker_log_lines_lost_total{${NODE}}[$__rate_interval])) > 0`,
        'injector {{node}} {{kind}}':
          'sum by (node, kind) (increase(pod2iam_injector_log_lines_lost_total[$__rate_interval])) > 0',
      }),
    ],
  },
  {
    title: 'Sidecars, if they are scraped (docs/metrics.md)',
    collapsed: true,
    panels: [
      lines(
        'Shortest remaining lifetime of credentials',
        'By namespace; credentials are renewed at half.',
        {
          '{{namespace}}': 'min by (namespace) (pod2iam_sidecar_credentials_remaining_seconds > 0)',
        },
        { unit: 's' },
      ),
      lines(
        'Requests to brokers',
        'By outcome.',
        { '{{outcome}}': 'sum by (outcome) (rate(pod2iam_sidecar_refreshes_total[$__rate_interval]))' },
        { unit: 'reqps' },
      ),
      lines(
        'Malformed requests refused',
        'By reason; docs/troubleshooting.md explains each.',
        {
          '{{reason}}':
            'sum by (reason) (rate(pod2iam_sidecar_requests_total{reason!=""}[$__rate_interval])) > 0',
        },
        { unit: 'reqps' },
      ),
    ],
  },
]

/** The dashboard, in the form that Grafana 10 and newer import. */
const DASHBOARD = {
  uid: 'pod2iam',
  title: 'pod2iam',
  description:
    'IAM credentials of pods: whether nodes are protected, which pods get credentials, and what is refused.',
  tags: ['pod2iam', 'aws', 'iam'],
  schemaVersion: 39,
  editable: true,
  graphTooltip: 1,
  refresh: '1m',
  time: { from: 'now-6h', to: 'now' },
  timezone: 'browser',
  annotations: { list: [] },
  templating: {
    list: [
      { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
      {
        name: 'node',
        label: 'Node',
        type: 'query',
        datasource: DATASOURCE,
        query: { query: 'label_values(pod2iam_firewall_info, node)', refId: 'nodes' },
        refresh: 2,
        sort: 1,
        multi: true,
        includeAll: true,
        allValue: '.*',
        current: { selected: true, text: ['All'], value: ['$__all'] },
      },
    ],
  },
  links: [],
  panels: placed(ROWS),
}

/** The text of the file. */
export const dashboardText = (): string => `${JSON.stringify(DASHBOARD, null, 1)}\n`

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  writeFileSync(DASHBOARD_FILE, dashboardText())
