#!/usr/bin/env node
/** The operator's program: `pod2iam`, and `kubectl pod2iam`. */
import { basename } from 'node:path'
import { runProgram } from './program.ts'

const isPlugin = basename(process.argv[1] ?? '').startsWith('kubectl-')

// It is not an error if the reader closes the pipe early (`| head`).
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 2))

void runProgram(process.argv.slice(2), isPlugin ? 'kubectl pod2iam' : 'pod2iam').then((code) => {
  // Keep-alive connections must not keep the process running.
  process.stdout.write('', () => process.exit(code))
})
