/** The figures of `size.ts` as curves over the number of Services. */
import { svg } from '../../support/plot.ts'
import type { Figure } from '../report.ts'

const COLORS = ['#1f6feb', '#bf3989', '#1a7f37', '#bc4c00', '#8250df', '#57606a']
const NAME = /^size: kube-proxy (\S+), (\d+) Services, (.+): (.+)$/

type Point = {
  readonly curve: string
  readonly services: number
  readonly what: string
  readonly value: number
}

/** SVG files by name; none if no size was measured, or only one. */
export function sizePlots(figures: readonly Figure[]): Readonly<Record<string, string>> {
  const points = figures.flatMap(({ name, value }): Point[] => {
    const [, mode = '', services, how = '', what = ''] = NAME.exec(name) ?? []
    return services === undefined || value === undefined
      ? []
      : [
          {
            curve: how.startsWith(`${mode},`) ? how : `${how} (${mode})`,
            services: Number(services),
            what,
            value,
          },
        ]
  })
  const at = [...new Set(points.map(({ services }) => services))].sort((a, b) => a - b)
  if (at.length < 2) return {}
  const plot = (what: string, title: string, unit: string, level: { name: string; value: number }) =>
    svg({
      title,
      unit,
      step: { name: 'Services', at },
      level,
      curves: curvesOf(points.filter((point) => point.what === what)),
    })
  return {
    'firewall-memory.svg': plot('whole cgroup at most', 'Firewall: peak memory of the whole cgroup', 'MiB', {
      name: 'limit of the chart',
      value: 64,
    }),
    'firewall-gap.svg': plot(
      'gap, median',
      'Firewall: how long a loss of its rules leaves the node open, median',
      'ms',
      {
        name: 'promise',
        value: 50,
      },
    ),
    'firewall-gap-worst.svg': plot('gap, worst', 'Firewall: the same, worst of ten', 'ms', {
      name: 'promise',
      value: 250,
    }),
  }
}

/** One curve for each backend beside each mode of kube-proxy: of several releases of nft, the worse value at each size. */
function curvesOf(points: readonly Point[]) {
  const byCurve = new Map<string, Map<number, number>>()
  for (const { curve, services, value } of points) {
    const name = curve.replace(/, nft [\d.]+/, '')
    const values = byCurve.get(name) ?? new Map<number, number>()
    byCurve.set(name, values.set(services, Math.max(value, values.get(services) ?? 0)))
  }
  return [...byCurve].map(([name, values], index) => ({
    name,
    color: COLORS[index % COLORS.length] ?? '#000000',
    values: [...values].sort(([a], [b]) => a - b).map(([, value]) => value),
  }))
}
