/** The version of this build; `test/common/version.test.ts` checks that it is that of package.json. */
export const VERSION = '0.1.0'
