import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseBaseRoleArn, parseRoleArn, quote, resolveRole, roleListText } from '../../common/role.ts'

const B = 'arn:aws:iam::123456789012:role/'

/** The tables of kube2iam and kiam (reference 4.1), `undefined` where we refuse what they would send to STS. */
const RESOLVED: [base: string | undefined, text: string, arn: string | undefined, why: string][] = [
  [B, 'my-role', `${B}my-role`, 'a bare name lies under the base'],
  [
    B,
    'arn:aws:iam::999999999999:role/cross-account',
    'arn:aws:iam::999999999999:role/cross-account',
    'an ARN is used as it is',
  ],
  [
    B,
    'ARN:aws:iam::999999999999:role/upper-case',
    undefined,
    'kube2iam passes an upper-case ARN on; STS would refuse it',
  ],
  [undefined, 'my-role', undefined, 'without a base, kube2iam sends the bare name to STS'],
  [B, '/myrole', `${B}myrole`, 'kiam tolerates one leading slash; kube2iam makes a double one'],
  [B, 'kiam/myrole', `${B}kiam/myrole`, 'a path'],
  [B, '/kiam/myrole', `${B}kiam/myrole`, 'a path with leading slash'],
  [B, '//kiam/myrole', undefined, 'two leading slashes mean nothing to kube2iam or kiam'],
  [B, '', undefined, 'kube2iam sends the bare base for an empty annotation'],
  [
    B,
    'arn:aws:iam::some-other-account:role/path-prefix/another-role',
    undefined,
    'an account has twelve digits',
  ],
  [`${B}team/`, 'x', `${B}team/x`, 'a base with a path'],
  ['arn:aws-cn:iam::123456789012:role/', 'x', 'arn:aws-cn:iam::123456789012:role/x', 'China'],
  [B, 'arn:aws-us-gov:iam::123456789012:role/x', 'arn:aws-us-gov:iam::123456789012:role/x', 'GovCloud'],
  [
    B,
    'arn:aws-iso-b:iam::123456789012:role/x',
    'arn:aws-iso-b:iam::123456789012:role/x',
    'an isolated partition',
  ],
  [B, 'with+all=legal,chars.@-_', `${B}with+all=legal,chars.@-_`, 'every character of an IAM name'],
  [B, 'role/', undefined, 'a path without a name (kube2iam#204)'],
  [B, 'a b', undefined, 'white space'],
  [B, 'a\nb', undefined, 'a control character'],
  [B, 'a*', undefined, 'a wildcard is not a role'],
  [B, '../x', `${B}../x`, 'dots mean nothing in an ARN'],
  [B, 'arn:aws:iam::123456789012:user/x', undefined, 'a user is not a role'],
  [B, 'arn:aws:s3:::bucket', undefined, 'a bucket is not a role'],
  [B, 'arn:aws:iam:us-east-1:123456789012:role/x', undefined, 'IAM has no Region'],
  [B, `x${'y'.repeat(63)}`, `${B}x${'y'.repeat(63)}`, 'a name of 64 characters'],
  [B, 'y'.repeat(65), undefined, 'a name of 65 characters'],
  [B, `${'p/'.repeat(256)}x`, undefined, 'a path longer than 512 characters'],
  [B, 'y'.repeat(3000), undefined, 'a text longer than an ARN can be'],
  [B, 'ünïcode', undefined, 'letters outside ASCII'],
]

for (const [base, text, arn, why] of RESOLVED)
  test(`role ${quote(text)} with base ${base ?? 'unknown'}: ${why}`, () => {
    const result = resolveRole(text, base)
    if (arn !== undefined) return assert.equal(result.ok && result.role.arn, arn)
    assert.equal(result.ok, false)
    assert.ok(!result.ok && result.detail.length > 20 && result.detail.length < 500)
  })

test('a resolved role has its partition, its account and its name with the path', () => {
  assert.deepEqual(resolveRole('arn:aws-cn:iam::999999999999:role/a/b/c', B), {
    ok: true,
    role: {
      arn: 'arn:aws-cn:iam::999999999999:role/a/b/c',
      partition: 'aws-cn',
      account: '999999999999',
      pathName: 'a/b/c',
    },
  })
})

const BASES: [text: string, base: string | undefined][] = [
  [B, B],
  ['arn:aws:iam::123456789012:role', B],
  [`${B}my-role`, `${B}my-role/`],
  [`${B}path/to/role`, `${B}path/to/role/`],
  ['arn:aws-cn:iam::123456789012:role/my-role', 'arn:aws-cn:iam::123456789012:role/my-role/'],
  [`${B}my.role`, `${B}my.role/`],
  [`${B}a+b=c,d@e`, `${B}a+b=c,d@e/`],
  ['', undefined],
  ['not-an-arn', undefined],
  ['arn:aws:s3:::my-bucket', undefined],
  ['arn:aws:iam::123456789012:user/my-user', undefined],
  ['arn:aws:iam:us-east-1:123456789012:role/x', undefined],
  ['arn:aws:iam::123456789012:roleX', undefined],
]

for (const [text, base] of BASES)
  test(`${quote(text)} is ${base ? 'a base role ARN' : 'refused as a base role ARN'}`, () => {
    const result = parseBaseRoleArn(text)
    assert.equal(result.ok ? result.base : undefined, base)
  })

test('the role list shows the name of a role under the base, with its path below the base, and otherwise the ARN', () => {
  const text = (role: string, base: string | undefined) => {
    const result = resolveRole(role, B)
    return result.ok ? roleListText(result.role, base) : undefined
  }
  assert.equal(text('my-role', B), 'my-role')
  assert.equal(text('team/my-role', B), 'team/my-role')
  assert.equal(text('team/my-role', `${B}team/`), 'my-role')
  assert.equal(text('my-role', undefined), `${B}my-role`)
  assert.equal(text('arn:aws:iam::999999999999:role/x', B), 'arn:aws:iam::999999999999:role/x')
})

test('a role resolved from any text is a role ARN, and parsing it gives the same role', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^\/?([\w./*:-]{1,20}\/)?[\w+=,.@-]{1,70}$/)),
      (text) => {
        const result = resolveRole(text, B)
        if (!result.ok) return
        assert.match(result.role.arn, /^arn:aws[a-z-]*:iam::\d{12}:role\/[!-~]+$/)
        assert.deepEqual(parseRoleArn(result.role.arn), result)
      },
    ),
  )
})

test('a quoted text has a maximum length, and no control characters or line separators', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
      assert.doesNotMatch(quote(text), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
      assert.ok(quote(text).length <= 2 * 201 + 2)
    }),
  )
})

test('a text that cannot be a role is refused with its own reason', () => {
  for (const [text, base, sentence] of [
    ['', B, /^the role is empty/],
    ['my role', B, /^the role contains white space/],
    ['my\u0007role', B, /control characters$/],
    ['my-role', undefined, /^"my-role" is not a full ARN and no base role ARN is known/],
  ] as const) {
    const result = resolveRole(text, base)
    assert.match(result.ok ? '' : result.detail, sentence)
  }
})
