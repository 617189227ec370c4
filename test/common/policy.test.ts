import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { RE2JS } from 're2js'
import { KEYS } from '../../common/keys.ts'
import { judgeAccount, judgeRole, type PolicySettings, parsePatterns } from '../../common/policy.ts'
import { quote, resolveRole } from '../../common/role.ts'

const B = 'arn:aws:iam::123456789012:role/'
const OTHER = 'arn:aws:iam::999999999999:role/'

function judge(
  role: string,
  annotations: Record<string, string> | undefined,
  settings: Partial<PolicySettings> = {},
) {
  const base = 'base' in settings ? settings.base : B
  const result = resolveRole(role, base ?? B)
  assert.ok(result.ok)
  return judgeRole(
    result.role,
    { name: 'shop', annotations },
    { restrictions: true, format: 'glob', permittedRoles: [], ...settings, base },
  )
}

type Row = [role: string, list: string | undefined, glob: boolean, regexp: boolean | undefined]

/** kube2iam's TestCheckRoleForNamespace (reference 4.3); the last column is undefined where the row is of one format. */
const KUBE2IAM: Row[] = [
  ['explicit-role', '["explicit-role"]', true, true],
  ['path/explicit-role', '["path/*"]', true, undefined],
  ['path/explicit-role', '["path/.*"]', false, true],
  ['explicit-role', `["${B}explicit-role"]`, true, true],
  ['path/explicit-role', `["${B}path/*-role"]`, true, undefined],
  ['path/explicit-role', `["${B}path/.*-role"]`, false, true],
  ['test-role', `["${B}explicit-role"]`, false, false],
  ['explicit-role', '', false, false],
  ['explicit-role', undefined, false, false],
  ['test-role', '["explicit-role","explicit-role2"]', false, false],
  ['explicit-role', '["explicit-role","explicit-role2"]', true, true],
  ['explicit-role', '["explicit-role2","explicit-role"]', true, true],
  ['glob-role', '["glob-*","explicit-role"]', true, undefined],
  ['glob-role', '["explicit-role","glob-*"]', true, undefined],
  ['glob-role', '["glob-.*","explicit-role"]', false, true],
  ['glob-role', '["explicit-role","glob-.*"]', false, true],
  // Edge cases: pod2iam refuses where kube2iam is unsafe.
  ['x', '["*"]', true, undefined],
  [`${OTHER}x`, '["*"]', false, undefined],
  [`${OTHER}x`, '[".*"]', false, false],
  [`${OTHER}x`, `["${OTHER}*"]`, true, undefined],
  ['path/x', '["path/*"]', true, undefined],
  ['path', '["path/*"]', false, undefined],
  ['a', '["a*b"]', false, undefined],
  ['a', '["a*bc"]', false, undefined],
  ['abc', '["a?c"]', false, undefined],
  ['my-role', '["My-Role"]', false, false],
  ['explicit-role-admin', '["explicit-role"]', false, false],
  ['explicitXrole', '["explicit.role"]', false, true],
  ['explicit-role', '["^explicit-role$"]', false, true],
  ['explicit-role', `["^${B}explicit-role$"]`, false, true],
  ['explicit-role-x', '["explicit-role$"]', false, false],
  ['path/MyRole', '["MyRole"]', false, false],
  ['zzz-b', '["a|b"]', false, false],
  ['b', '["a|b"]', false, true],
  ['x', '["("]', false, false],
  ['x', '["x","("]', true, false],
  ['x', 'not valid json', false, false],
  ['x', '{"a":"x"}', false, false],
  ['x', '"x"', false, false],
  ['x', '[1]', false, false],
  ['x', '[]', false, false],
  ['x', '["/x"]', true, false],
  ['x', `["x","(a+)+$${'a'.repeat(600)}"]`, true, false],
]

for (const [role, list, glob, regexp] of KUBE2IAM) {
  const annotations = list === undefined ? undefined : { [KEYS.allowedRoles]: list }
  const shown = list === undefined ? 'no list' : quote(list)
  test(`glob list ${shown} ${glob ? 'allows' : 'refuses'} ${role}`, () => {
    assert.equal(judge(role, annotations).ok, glob)
  })
  if (regexp !== undefined)
    test(`regexp list ${shown} ${regexp ? 'allows' : 'refuses'} ${role}`, () => {
      assert.equal(judge(role, annotations, { format: 'regexp' }).ok, regexp)
    })
}

/** kiam's policy_test.go (reference 4.4), strict as its v4; roles under the base in the first column. */
const KIAM: [base: string, role: string, permitted: string, allowed: boolean][] = [
  [B, 'red_role', '', false],
  [B, 'red_role', 'o', false],
  [B, 'red_role', 'role', false],
  [B, 'red_role', '.*role', true],
  [B, '/red_role', '.*role', true],
  [B, 'red_role', `${B}.*`, true],
  [B, 'red_role', `^${B}red.*$|^.red.*$`, true],
  [B, 'orange_role', `^${B}red.*$|^.red.*$`, false],
  [B, 'red_role', `${B}*`, false],
  [`${B}subpath/`, 'red_role', '.*/subpath/.*', true],
  [`${B}subpath/`, 'red_role', `${B}red.*`, false],
  [`${B}subpath/`, 'red_role', `${B}subpath/red_role`, true],
  [`${B}subpath/`, 'red_role', `${B}subpath/blue_role`, false],
  // kiam anchors only the ends of the alternation and allows this one.
  [B, 'red-admin', `${B}red|blue`, false],
  [B, 'red', `${B}red|blue`, true],
  [B, 'test-role', 'test-role', false],
  [B, 'x', '(', false],
  [B, 'x', '(?=x).*', false],
  [B, 'x', `.*${'x?'.repeat(300)}`, false],
]

for (const [base, role, permitted, allowed] of KIAM)
  test(`permitted ${quote(permitted)} ${allowed ? 'allows' : 'refuses'} ${role} under ${base}`, () => {
    assert.equal(judge(role, { [KEYS.permitted]: permitted }, { base }).ok, allowed)
  })

test('a namespace with both annotations allows only what both of them allow', () => {
  const both = (list: string, permitted: string) =>
    judge('red', { [KEYS.allowedRoles]: list, [KEYS.permitted]: permitted }).ok
  assert.equal(both('["red"]', '.*red'), true)
  assert.equal(both('["red"]', '.*blue'), false)
  assert.equal(both('["blue"]', '.*red'), false)
  assert.equal(both('["red"]', '('), false)
  assert.equal(both('nonsense', '.*red'), false)
})

test('a default role gets no exemption from its namespace, unlike in kube2iam', () => {
  assert.equal(judge('default-role', undefined).ok, false)
})

test('without namespace restrictions every role is allowed up to the operator’s ceiling', () => {
  const open = { restrictions: false }
  assert.equal(judge('any', undefined, open).ok, true)
  assert.equal(judge('any', undefined, { ...open, permittedRoles: [`${B}team-*`] }).ok, false)
  assert.equal(judge('team-a', undefined, { ...open, permittedRoles: [`${B}team-*`, `${OTHER}*`] }).ok, true)
})

test('the ceiling also limits what a namespace allows', () => {
  const annotations = { [KEYS.allowedRoles]: '["*"]' }
  assert.equal(judge('any', annotations, { permittedRoles: [`${B}team-*`] }).ok, false)
})

test('a pattern that is not an ARN matches nothing while the base is unknown', () => {
  for (const format of ['glob', 'regexp'] as const) {
    const wild = format === 'glob' ? '["*"]' : '[".*"]'
    assert.equal(judge(`${B}x`, { [KEYS.allowedRoles]: wild }, { base: undefined, format }).ok, false)
    assert.equal(judge(`${B}x`, { [KEYS.allowedRoles]: `["${B}x"]` }, { base: undefined, format }).ok, true)
  }
})

test('a refusal names namespace, role and annotation, and the remedy if nothing is allowed', () => {
  const none = judge('x', {})
  assert.ok(!none.ok)
  assert.match(
    none.detail,
    /kubectl annotate namespace shop 'iam\.amazonaws\.com\/allowed-roles=\["arn:aws:iam::123456789012:role\/x"\]'/,
  )
  const listed = judge('x', { [KEYS.allowedRoles]: '["y"]' })
  assert.ok(!listed.ok)
  assert.match(listed.detail, /namespace shop.*role\/x.*iam\.amazonaws\.com\/allowed-roles/)
})

test('a regexp that would hang a backtracking engine is evaluated in milliseconds', () => {
  const started = process.cpuUsage()
  judge(`${'a'.repeat(60)}`, { [KEYS.permitted]: `${B}(a+)+!` })
  assert.ok(process.cpuUsage(started).user < 500_000)
})

const TOO_COSTLY =
  /is not a regexp \(RE2, ASCII\) of at most 512 characters that compiles to at most 1000 instructions/

for (const pattern of [
  `${'((((.?){10}){10}){10})'.repeat(22)}Z`,
  '((((.?){10}){10}){10})Z',
  '((.?){40}){20}Z',
  '(.?){1,999}Z',
  '(?i)[^\\pL\\pN]'.repeat(30),
  '(?i)[B-\\x{1e942}]'.repeat(20),
  '[B-\u{1e942}]*',
])
  test(`regexp ${quote(pattern)} costs too much and allows nothing, in either annotation`, () => {
    for (const annotations of [
      { [KEYS.permitted]: pattern },
      { [KEYS.allowedRoles]: JSON.stringify(['x', pattern]) },
    ]) {
      const judgement = judge('x', annotations, { format: 'regexp' })
      assert.ok(!judgement.ok)
      assert.match(judgement.detail, TOO_COSTLY)
    }
  })

test('ordinary counted repetitions are not too costly', () => {
  for (const pattern of [
    `arn:aws:iam::[0-9]{12}:role/team-[a-z0-9-]{1,50}`,
    `arn:aws:iam::\\d{12}:role/([a-z]+-){1,5}[a-z]{2,40}`,
    `^${B}(team|shop)-[[:alpha:]]{4}$`,
    `(?i)${B}TEAM-.*`,
  ]) {
    assert.equal(judge('team-blue', { [KEYS.permitted]: pattern }).ok, true, pattern)
    assert.equal(judge('team_blue', { [KEYS.permitted]: pattern }).ok, false, pattern)
  }
})

test('a list may have 32 regexps which compile to 4000 instructions in all, or 256 globs', () => {
  const list = (patterns: string[], format: 'glob' | 'regexp') =>
    judge('x', { [KEYS.allowedRoles]: JSON.stringify(patterns) }, { format })
  const filled = (count: number) => [...Array(count - 1).fill('y'), 'x']
  assert.equal(list(filled(32), 'regexp').ok, true)
  const many = list(filled(33), 'regexp')
  assert.ok(!many.ok)
  assert.match(many.detail, /more than 32 regexps/)
  assert.equal(list(filled(256), 'glob').ok, true)
  const large = list(['x', ...Array(5).fill('a{900}')], 'regexp')
  assert.ok(!large.ok)
  assert.match(large.detail, /more than 4000 instructions in all/)
})

test('a judgement is the same when it is repeated, and is never reused for another role, base or pattern', () => {
  for (let round = 0; round < 2; round++) {
    assert.equal(judge('a', { [KEYS.permitted]: `${B}a` }).ok, true)
    assert.equal(judge('b', { [KEYS.permitted]: `${B}a` }).ok, false)
    assert.equal(judge('b', { [KEYS.permitted]: `${B}b` }).ok, true)
    const list = { [KEYS.allowedRoles]: '["a"]' }
    assert.equal(judge('a', list, { format: 'regexp' }).ok, true)
    assert.equal(judge(`${B}a`, list, { format: 'regexp', base: OTHER }).ok, false)
  }
})

test('the list annotation is parsed as in kube2iam: its order is kept, and anything but a JSON list of texts is no list', () => {
  assert.deepEqual(parsePatterns('["a","b","c"]'), ['a', 'b', 'c'])
  assert.deepEqual(parsePatterns('[]'), [])
  for (const text of ['', 'not valid json', 'null', '{}', '[null]', JSON.stringify(Array(257).fill('x'))])
    assert.equal(parsePatterns(text), undefined)
})

test('an empty regexp allows nothing, and the refusal says that it is empty', () => {
  const result = judge('x', { [KEYS.permitted]: '' })
  assert.ok(!result.ok)
  assert.match(result.detail, /is empty, so nothing is allowed$/)
})

test('a regexp is compiled once for each role, the least recently used result is dropped, and a costly regexp is never compiled', () => {
  const compile = mock.method(RE2JS, 'compile')
  const compiledFor = (pattern: string, role = 'once') => {
    const before = compile.mock.callCount()
    judge(role, { [KEYS.permitted]: pattern })
    return compile.mock.callCount() - before
  }
  try {
    assert.deepEqual([compiledFor('.*/once'), compiledFor('.*/once')], [1, 0])
    // Fill the cache while the first result is used: it stays, and one that is not used is evicted.
    compiledFor('.*/unused')
    for (let i = 0; i < 2048; i++) {
      compiledFor(`.*/fill${i}`)
      if (i % 1000 === 0) compiledFor('.*/once')
    }
    assert.deepEqual([compiledFor('.*/once'), compiledFor('.*/unused')], [0, 1])
    for (const costly of [`${'((((.?){10}){10}){10})'.repeat(22)}Z`, '[ab]{999}'.repeat(50)])
      assert.equal(compiledFor(costly), 0, costly)
  } finally {
    compile.mock.restore()
  }
})

test('a service account’s list is read like a namespace’s, has a maximum length, and counts also without namespace restrictions', () => {
  const account = (list: string | undefined, settings: Partial<PolicySettings> = {}) => {
    const resolved = resolveRole('path/r', B)
    assert.ok(resolved.ok)
    return judgeAccount(
      resolved.role,
      { namespace: 'shop', name: 'orders', list },
      { restrictions: false, format: 'glob', permittedRoles: [], base: B, ...settings },
    )
  }
  for (const list of [undefined, '["path/*"]', `["${B}*"]`]) assert.deepEqual(account(list), { ok: true })
  assert.deepEqual(account('["path/.*"]', { format: 'regexp' }), { ok: true })
  const why = (...given: Parameters<typeof account>) => {
    const judgement = account(...given)
    return judgement.ok ? 'allowed' : judgement.detail
  }
  assert.match(why('["other"]'), /^service account shop\/orders may not use role .* does not list it$/)
  assert.match(why('["path/.*"]'), /does not list it$/)
  assert.match(why('[]', { format: 'regexp' }), /^service account shop\/orders may not use role/)
  assert.match(why('path'), /^annotation .* of service account shop\/orders is not a JSON array/)
  assert.match(why('["("]', { format: 'regexp' }), /service account shop\/orders: "\(" is not a regexp/)
  const long = `["path/*"${' '.repeat(16_400)}]`
  assert.match(
    why(long),
    /of service account shop\/orders is longer than 16384 characters, so nothing is allowed$/,
  )
})
