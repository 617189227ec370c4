/** The requests of programs that read instance metadata, in order, as found in their sources (versions in docs/metadata.md). */

export type MetadataClient = {
  readonly client: string
  /** Paths below `/latest/`. Without one of these the program finds less, or nothing. */
  readonly paths: readonly string[]
  /** Paths it also requests, where it understands 404 as "none". */
  readonly absent?: readonly string[]
}

const MAC = '02:29:96:8f:6a:2d'
const NIC = `meta-data/network/interfaces/macs/${MAC}`
const DOCUMENT = 'dynamic/instance-identity/document'
const below = (...leaves: readonly string[]) => leaves.map((leaf) => `meta-data/${leaf}`)

export const CLIENTS: readonly MetadataClient[] = [
  {
    client: 'OpenTelemetry’s detector for JavaScript, Python or Java',
    paths: [DOCUMENT, 'meta-data/hostname'],
  },
  { client: 'OpenTelemetry’s detector for Go', paths: [DOCUMENT, 'meta-data/hostname'] },
  { client: 'OpenTelemetry’s collector', paths: [...below('instance-id', 'hostname'), DOCUMENT] },
  {
    client: 'Datadog’s agent',
    paths: [
      ...below('instance-id', 'local-ipv4', 'public-ipv4', 'hostname', 'instance-life-cycle'),
      'meta-data/network/interfaces/macs',
      ...['vpc-id', 'subnet-id', 'subnet-ipv4-cidr-block', 'vpc-ipv4-cidr-blocks', 'security-groups'].map(
        (leaf) => `${NIC}/${leaf}`,
      ),
      `${DOCUMENT}/`,
    ],
    absent: ['meta-data/spot/instance-action', 'meta-data/tags/instance'],
  },
  {
    client: 'Vector',
    paths: [
      DOCUMENT,
      ...below(
        'placement/availability-zone',
        'local-hostname',
        'local-ipv4',
        'public-hostname',
        'public-ipv4',
        'mac',
      ),
      `${NIC}/subnet-id`,
      `${NIC}/vpc-id`,
      'meta-data/iam/security-credentials/',
    ],
    absent: ['meta-data/tags/instance/Name'],
  },
  {
    client: 'Fluent Bit',
    paths: [
      ...below('instance-id/', 'placement/availability-zone/', 'instance-type/', 'local-ipv4/', 'mac/'),
      `${NIC}/vpc-id/`,
      ...below('ami-id/', 'hostname/'),
      `${DOCUMENT}/`,
    ],
    absent: ['meta-data/tags/instance'],
  },
  { client: 'Elastic’s beats, New Relic’s agent, Telegraf, Prometheus or Consul', paths: [DOCUMENT] },
  {
    client: 'aws-node-termination-handler',
    paths: [
      DOCUMENT,
      ...below(
        'instance-life-cycle',
        'local-hostname',
        'public-hostname',
        'public-ipv4',
        'events/maintenance/scheduled',
      ),
    ],
    absent: below('spot/instance-action', 'events/recommendations/rebalance'),
  },
  {
    client: 'Spring Cloud AWS',
    paths: below(
      ...['ami-id', 'ami-launch-index', 'ami-manifest-path', 'hostname', 'instance-action', 'instance-id'],
      ...[
        'instance-life-cycle',
        'instance-type',
        'local-hostname',
        'local-ipv4',
        'mac',
        'profile',
        'public-hostname',
      ],
      ...[
        'public-ipv4',
        'reservation-id',
        'security-groups',
        'ipv6',
        'kernel-id',
        'iam/info',
        'product-codes',
      ],
      ...['ramdisk-id', 'services/domain', 'services/partition', 'placement/availability-zone'],
      ...[
        'placement/availability-zone-id',
        'placement/group-name',
        'placement/partition-number',
        'placement/region',
      ],
    ),
    absent: below('tags/instance', 'autoscaling/target-lifecycle-state', 'placement/host-id'),
  },
  {
    client: 'ec2-metadata of amazon-ec2-utils',
    paths: below(
      ...[
        'ami-id',
        'ami-launch-index',
        'ami-manifest-path',
        'ancestor-ami-ids',
        'placement/availability-zone-id',
      ],
      ...[
        'services/domain',
        'block-device-mapping/',
        'block-device-mapping/ami',
        'block-device-mapping/root',
      ],
      ...[
        'instance-id',
        'instance-type',
        'local-hostname',
        'local-ipv4',
        'kernel-id',
        'placement/availability-zone',
      ],
      ...[
        'placement/region',
        'services/partition',
        'product-codes',
        'public-hostname',
        'public-ipv4',
        'ramdisk-id',
      ],
      ...['reservation-id', 'security-groups'],
    ),
    absent: ['meta-data/public-keys/', 'user-data', 'meta-data/tags/instance/'],
  },
  {
    client: 'the AWS SDK for Java 1 or .NET with all its properties',
    paths: [
      ...below('ami-id', 'block-device-mapping', 'hostname', 'mac', 'security-groups', 'product-codes'),
      'meta-data/network/interfaces/macs/',
      `${NIC}/`,
      ...[
        'owner-id',
        'local-hostname',
        'local-ipv4s',
        'public-hostname',
        'public-ipv4s',
        'security-groups',
      ].map((leaf) => `${NIC}/${leaf}`),
      ...['security-group-ids', 'subnet-ipv4-cidr-block', 'subnet-id', 'vpc-ipv4-cidr-block', 'vpc-id'].map(
        (leaf) => `${NIC}/${leaf}`,
      ),
      `${NIC}/ipv4-associations/192.0.2.54`,
      DOCUMENT,
      'dynamic/fws/instance-monitoring',
    ],
    absent: [
      'user-data',
      'user-data/',
      'meta-data/public-keys/0/openssh-key',
      'dynamic/instance-identity/pkcs7',
    ],
  },
  {
    client: 'the AWS Load Balancer Controller',
    paths: [...below('placement/region', 'mac'), `${NIC}/vpc-id`],
  },
  {
    client: 'an AWS SDK that looks for its Region',
    paths: [
      ...below('placement/region', 'placement/availability-zone', 'placement/availability-zone/'),
      DOCUMENT,
    ],
  },
]
