import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Writes a JSON document under another name and renames it, so that a reader never sees half of it.
 *
 * @param mode of the file; absent: as the process's umask has it
 */
export async function replaceFile(
  directory: string,
  name: string,
  document: unknown,
  mode?: number,
): Promise<void> {
  const temporary = join(directory, `.${name}.${process.pid}`)
  await writeFile(temporary, `${JSON.stringify(document)}\n`, { mode })
  await rename(temporary, join(directory, name))
}
