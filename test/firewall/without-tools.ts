/** Nodes that lack a tool: a wrapper for a command line, whose process sees /usr/sbin without it. */

/**
 * @param missing names of tools that do not exist there
 * @param fakes shell scripts that replace tools
 */
export function withoutTools(
  missing: readonly string[],
  fakes: Readonly<Record<string, string>> = {},
): string[] {
  const script = [
    'set -e',
    'sbin=$(mktemp -d /run/sbin.XXXXXX)',
    'mount --bind /usr/sbin "$sbin"',
    'mount -t tmpfs -o mode=755 tmpfs /usr/sbin',
    'ln -s "$sbin"/* /usr/sbin/',
    ...missing.map((name) => `rm -f /usr/sbin/${name}`),
    ...Object.entries(fakes).map(
      ([name, body]) => `rm -f /usr/sbin/${name}
cat >/usr/sbin/${name} <<'FAKE'
#!/bin/sh
${body}
FAKE
chmod 755 /usr/sbin/${name}`,
    ),
    'exec "$@"',
  ]
  return ['unshare', '--mount', 'sh', '-c', script.join('\n'), 'sh']
}

/** Every name under which iptables can be called. */
export const IPTABLES_TOOLS = [
  ...['ip', 'ip6'].flatMap((ip) =>
    ['', '-nft', '-legacy'].flatMap((variant) =>
      ['', '-save', '-restore'].map((what) => `${ip}tables${variant}${what}`),
    ),
  ),
]
