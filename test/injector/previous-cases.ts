/** Pods and settings for which `golden/release-0.1.0.json` records what release 0.1.0 wrote. */
import { KEYS } from '../../common/keys.ts'
import { IMAGES, namespace, pod, ROLE } from './fixtures.ts'
import { CHANGES, OTHER_KEY } from './injected-settings.ts'

/** 0.1.0 had no such flags. */
const NEW = /^--(?:token-expiration-seconds|start|container-credentials)=/

const flagName = (flag: string) => flag.replace(/=.*/s, '')
const without = (flags: readonly string[], others: readonly string[]) =>
  flags.filter((flag) => !others.map(flagName).includes(flagName(flag)))

/** Command lines by the setting in which they differ from the default. */
export const CASES: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries({ nothing: [], ...CHANGES, roleKey: [`--role-key=${OTHER_KEY}`] })
    .filter(([, flags]) => !flags.some((flag) => NEW.test(flag)))
    .map(([what, flags]) => [what, [...without(IMAGES, flags), ...flags]]),
)

export const NAMESPACE = namespace()

const EVERY_KEY = { [KEYS.role]: ROLE, [OTHER_KEY]: ROLE }

export const PODS: Readonly<Record<string, ReturnType<typeof pod>>> = {
  'a role': pod({}, { ...EVERY_KEY, [KEYS.externalId]: 'external-1', [KEYS.sessionName]: 'orders' }),
  'all annotated': pod(
    { restartPolicy: 'Never' },
    {
      ...EVERY_KEY,
      [KEYS.imdsTokens]: 'required',
      [KEYS.logLevel]: 'warn',
      [KEYS.startupGate]: 'off',
      [KEYS.redirect]: 'env',
      [KEYS.sidecarResources]: '{"requests":{"cpu":"20m"}}',
    },
  ),
  'metadata only': pod({}, { [KEYS.role]: undefined, [KEYS.inject]: 'metadata' }),
}
