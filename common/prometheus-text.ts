/** Prometheus' text exposition format, for the programs that do without prom-client. */
export type Metric = {
  readonly name: string
  readonly type: 'gauge' | 'counter'
  readonly help: string
  /** Values by their labels as printed, in braces; an empty text for none. */
  readonly samples: Iterable<readonly [labels: string, value: number]>
}

const metric =
  (type: Metric['type']) =>
  (name: string, help: string, samples: Metric['samples'] | number | boolean): Metric => ({
    name,
    type,
    help,
    samples: typeof samples === 'object' ? samples : [['', Number(samples)]],
  })

export const gauge = metric('gauge')
export const counter = metric('counter')

/** @param prefix of every name */
export function prometheusText(prefix: string, metrics: readonly Metric[]): string {
  return metrics
    .flatMap(({ name, type, help, samples }) => [
      `# HELP ${prefix}${name} ${help}\n`,
      `# TYPE ${prefix}${name} ${type}\n`,
      ...[...samples].map(([labels, value]) => `${prefix}${name}${labels} ${value}\n`),
    ])
    .join('')
}
