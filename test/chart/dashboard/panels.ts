/** Panels of a Grafana dashboard, in its JSON form, with the settings that all of them share. */

type Query = { readonly expr: string; readonly legend: string }

export type Panel = {
  readonly title: string
  readonly description: string
  readonly type: 'stat' | 'timeseries' | 'table'
  /** In columns, of which there are 24. */
  readonly width: number
  readonly height: number
  readonly queries: readonly Query[]
  readonly fields: object
  readonly options: object
  readonly transformations?: readonly object[]
}

export type Row = { readonly title: string; readonly collapsed?: boolean; readonly panels: readonly Panel[] }

/** The variable by which the viewer chooses a Prometheus. */
export const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }

const GREEN = { color: 'green', value: null }
const steps = (...further: readonly { color: string; value: number }[]) => ({
  thresholds: { mode: 'absolute', steps: [GREEN, ...further] },
})
const NO_THRESHOLDS = steps()
/** Any value above zero is a problem. */
export const NONE_IS_GOOD = steps({ color: 'red', value: 1 })
/** Any value above zero is worth a look. */
export const NONE_IS_USUAL = steps({ color: 'orange', value: 1 })

type More = { readonly unit?: string; readonly thresholds?: object; readonly noValue?: string }

/** One number, whose background shows whether it is good. */
export function stat(title: string, description: string, expr: string, more: More = {}): Panel {
  const { unit = 'short', thresholds = NO_THRESHOLDS, noValue } = more
  return {
    title,
    description,
    type: 'stat',
    width: 4,
    height: 4,
    queries: [{ expr, legend: '' }],
    fields: {
      defaults: {
        unit,
        color: { mode: 'thresholds' },
        ...thresholds,
        ...(noValue === undefined ? {} : { noValue }),
      },
      overrides: [],
    },
    options: {
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      colorMode: 'background',
      graphMode: 'none',
      justifyMode: 'auto',
      orientation: 'auto',
      textMode: 'value',
      wideLayout: true,
      showPercentChange: false,
      percentChangeColorMode: 'standard',
    },
  }
}

/** Lines over time. */
export function lines(
  title: string,
  description: string,
  queries: Readonly<Record<string, string>>,
  { unit = 'short' }: More = {},
): Panel {
  return {
    title,
    description,
    type: 'timeseries',
    width: 8,
    height: 8,
    queries: Object.entries(queries).map(([legend, expr]) => ({ legend, expr })),
    fields: {
      defaults: {
        unit,
        min: 0,
        color: { mode: 'palette-classic' },
        custom: { drawStyle: 'line', lineWidth: 1, fillOpacity: 10, showPoints: 'never', spanNulls: false },
      },
      overrides: [],
    },
    options: {
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  }
}

/** A table of the present series, one in each row, with these labels as columns. */
export function list(
  title: string,
  description: string,
  expr: string,
  columns: readonly string[],
  value?: string,
): Panel {
  const hidden = value === undefined ? { Value: true } : {}
  return {
    title,
    description,
    type: 'table',
    width: 8,
    height: 8,
    queries: [{ expr, legend: '' }],
    fields: {
      defaults: { custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false } },
      overrides: [],
    },
    options: { frameIndex: 0, showHeader: true, cellHeight: 'sm' },
    transformations: [
      {
        id: 'organize',
        options: {
          excludeByName: { Time: true, ...hidden },
          indexByName: Object.fromEntries([...columns, 'Value'].map((name, index) => [name, index])),
          renameByName: value === undefined ? {} : { Value: value },
        },
      },
    ],
  }
}

/** Rows with their panels, placed from left to right on a grid of 24 columns; those of a collapsed row are inside it. */
export function placed(rows: readonly Row[]): object[] {
  let id = 0
  let y = 0
  return rows.flatMap(({ title, collapsed = false, panels }): object[] => {
    const header = { id: ++id, type: 'row', title, collapsed, gridPos: { x: 0, y: y++, w: 24, h: 1 } }
    let x = 0
    let height = 0
    const grid = panels.map((panel) => {
      if (x + panel.width > 24) {
        x = 0
        y += height
        height = 0
      }
      const gridPos = { x, y, w: panel.width, h: panel.height }
      x += panel.width
      height = Math.max(height, panel.height)
      return panelOf(panel, ++id, gridPos)
    })
    y += height
    return collapsed ? [{ ...header, panels: grid }] : [{ ...header, panels: [] }, ...grid]
  })
}

function panelOf(
  { title, description, type, queries, fields, options, transformations }: Panel,
  id: number,
  gridPos: object,
) {
  return {
    id,
    type,
    title,
    description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: fields,
    options,
    ...(transformations === undefined ? {} : { transformations }),
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + index),
      datasource: DATASOURCE,
      expr,
      ...(legend === '' ? {} : { legendFormat: legend }),
      ...(type === 'timeseries' ? { range: true } : { instant: true, range: false }),
      ...(type === 'table' ? { format: 'table' } : {}),
    })),
  }
}
