/**
 * How the kubelet publishes projected volumes: a time-stamped directory, the symlink `..data` renamed onto it in
 * one step, and `file -> ..data/file` for readers. A reader sees either all of the old content or all of the new.
 */
import {
  chmodSync,
  chownSync,
  lstatSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { makeDirectory } from './make-directory.ts'

export type ProjectedFile = {
  readonly data: string
  readonly mode: number
  /** Owner; default root. */
  readonly uid?: number | undefined
}

export type Ownership = {
  /** Applied like SetVolumeOwnership for a read-only volume: readable by this group. */
  readonly fsGroup?: number | undefined
  /** Owners cannot be changed in a user namespace with one uid. */
  readonly oneUid: boolean
}

let serial = 0

/** Replaces the whole content of a projected volume. Paths are relative, without `..`. */
export function writeAtomically(
  directory: string,
  files: ReadonlyMap<string, ProjectedFile>,
  ownership: Ownership,
): void {
  const previous = currentVersion(directory)
  const version = `..${new Date().toISOString().replace(/[-T:]/g, '_').replace('Z', '')}_${++serial}`
  const target = join(directory, version)
  makeOwned(target, ownership)
  for (const [path, file] of files) writeProjected(target, path, file, ownership)
  symlinkSync(version, join(directory, '..data_tmp'))
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
  for (const name of new Set([...files.keys()].map((path) => path.split('/')[0] ?? path)))
    if (!exists(join(directory, name))) symlinkSync(`..data/${name}`, join(directory, name))
  if (previous !== undefined) rmSync(join(directory, previous), { recursive: true, force: true })
}

function writeProjected(root: string, path: string, file: ProjectedFile, ownership: Ownership): void {
  const full = join(root, path)
  if (dirname(path) !== '.') makeOwned(dirname(full), ownership)
  writeFileSync(full, file.data)
  const { fsGroup, oneUid } = ownership
  // chown resets nothing here (there are no set-id bits), so the order does not matter.
  if (!oneUid && (file.uid !== undefined || fsGroup !== undefined))
    chownSync(full, file.uid ?? 0, fsGroup ?? 0)
  chmodSync(full, fsGroup === undefined || oneUid ? file.mode : file.mode | 0o440)
}

function makeOwned(path: string, { fsGroup, oneUid }: Ownership): void {
  makeDirectory(path)
  const grouped = fsGroup !== undefined && !oneUid
  if (grouped) chownSync(path, 0, fsGroup)
  chmodSync(path, grouped ? 0o2755 : 0o755)
}

function currentVersion(directory: string): string | undefined {
  try {
    return readlinkSync(join(directory, '..data'))
  } catch {
    return undefined
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
