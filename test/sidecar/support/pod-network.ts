/** A pod's network, made in the network namespace of this process. Needs root. */
import { execFileSync } from 'node:child_process'

const command = (name: string, ...args: string[]) =>
  execFileSync(name, args, { stdio: ['pipe', 'ignore', 'inherit'] })

/** Creates a pod's interface, with a default route in both families. */
export function makePodNetwork(): void {
  command('ip', 'link', 'set', 'lo', 'up')
  command('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'node0')
  for (const link of ['eth0', 'node0']) command('ip', 'link', 'set', link, 'up')
  command('ip', 'address', 'add', '10.0.0.2/24', 'dev', 'eth0')
  command('ip', 'address', 'add', 'fd00:9::2/64', 'dev', 'eth0', 'nodad')
  command('ip', 'route', 'add', 'default', 'via', '10.0.0.1')
  command('ip', 'route', 'add', 'default', 'via', 'fd00:9::1')
}

/** Loads the same redirect of the metadata addresses as the gate. */
export function redirectTo(port: number): void {
  execFileSync('nft', ['-f', '-'], {
    input: `table inet pod2iam_redirect {
      chain output {
        type nat hook output priority -110;
        ip daddr 169.254.169.254 tcp dport 80 redirect to :${port}
        ip6 daddr fd00:ec2::254 tcp dport 80 redirect to :${port}
      }
    }`,
  })
}
