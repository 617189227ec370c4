/** `explain` for tests: which step fails, with which code, as text and as JSON. */
import assert from 'node:assert/strict'
import { until } from '../support/until.ts'
import { type Ran, run, widest } from './support.ts'

type Explained = {
  readonly failed: { step: string; code: string; detail: string; remedy: string } | null
  readonly steps: readonly { id: string; state: string; code?: string; detail: string }[]
}

export type Explaining = {
  readonly explain: (namespace: string, target: string, ...args: string[]) => Promise<Ran>
  readonly explained: (namespace: string, target: string) => Promise<Explained>
  /** Waits until that step fails with that code, since the kubelet reports with a delay, and then checks the same as text. */
  readonly fails: (
    namespace: string,
    target: string,
    step: string,
    code: string,
    said: RegExp,
    /** Causes the state again if it is over too soon; then only the JSON is checked. */
    again?: (isWell: boolean) => void,
  ) => Promise<void>
}

/** @param kubeconfig a file, or a function that returns it once it exists */
export function explaining(kubeconfig: string | (() => string)): Explaining {
  const config = () => (typeof kubeconfig === 'string' ? kubeconfig : kubeconfig())
  const explain: Explaining['explain'] = (namespace, target, ...args) =>
    run(['--kubeconfig', config(), '-n', namespace, 'explain', target, ...args])

  const explained: Explaining['explained'] = async (namespace, target) => {
    const { stdout, stderr } = await explain(namespace, target, '-o', 'json')
    assert.notEqual(stdout, '', stderr)
    return JSON.parse(stdout).explanations[0]
  }

  const fails: Explaining['fails'] = async (namespace, target, step, code, said, again) => {
    let last: Explained['failed'] = null
    const isSaid = async () => {
      again?.(last === null)
      last = (await explained(namespace, target)).failed
      if (last?.step !== step || last.code !== code) return false
      assert.match(last.detail, said)
      assert.notEqual(last.remedy, '')
      if (again !== undefined) return true
      const text = await explain(namespace, target)
      // A state that lasts only seconds may be over by now.
      if (!new RegExp(`: ${code}\n  → \\w`).test(text.stdout)) return false
      assert.equal(text.code, 1)
      assert.ok(widest(text.stdout) <= 80, `a line has ${widest(text.stdout)} columns`)
      return true
    }
    const detail = () => JSON.stringify(last)
    await until(`explain ${target}: ${step}, ${code}`, isSaid, { detail })
  }
  return { explain, explained, fails }
}
