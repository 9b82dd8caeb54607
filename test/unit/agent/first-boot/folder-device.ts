/** A device that is a folder or a simulated disk: providers work on it in place, without mounts, sshd or root. */
import { createHash } from 'node:crypto';
import { runProgram } from '../../../../agent/boards/board-program.ts';
import type { SecretSource, Staging } from '../../../../agent/core/first-boot-ports.ts';
import { DeviceFiles } from '../../../../agent/first-boot/device-files.ts';
import type { FileForm, FileForms } from '../../../../agent/first-boot/file-form.ts';
import type { ProviderWorld } from '../../../../agent/first-boot/world.ts';
import type { Disk } from '../../../../platform/disk.ts';
import { makeDirectoryDurably, writeDurably } from '../../../../platform/durable-file.ts';

/** The same bytes for the same seed: a run can be had again. Never of equal bytes in a row. */
export function seededSecrets(seed: string): SecretSource {
  let number = 0;
  return {
    bytes(length) {
      const made: number[] = [];
      while (made.length < length) {
        made.push(...createHash('sha256').update(`${seed} ${number}`).digest());
        number += 1;
      }
      return Uint8Array.from(made.slice(0, length));
    },
  };
}

/** Owners and modes, remembered by name: a simulated disk has none. A file takes its form along when it is renamed. */
export function rememberedForms(): FileForms {
  const forms = new Map<string, FileForm>();
  const named = (path: string): string => path.replace(/\.new$/, '');
  return {
    read: async (path) => forms.get(named(path)),
    set: async (path, form) => void forms.set(named(path), form),
    has: async (path, { mode, uid, gid }) => {
      const form = forms.get(named(path));
      return form?.mode === mode && form.uid === uid && form.gid === gid;
    },
  };
}

export function diskStaging(disk: Disk, epoch: number, folder = `/data/staging/${epoch}`): Staging {
  return {
    epoch,
    read: (name, capBytes) => disk.readFile(`${folder}/${name}`, capBytes),
    async write(name, bytes) {
      await makeDirectoryDurably(disk, '/data/staging');
      await makeDirectoryDurably(disk, folder);
      await writeDurably(disk, `${folder}/${name}`, bytes);
    },
  };
}

export function folderWorld(disk: Disk, forms: FileForms, changes: Partial<ProviderWorld> = {}): ProviderWorld {
  return {
    disk,
    files: new DeviceFiles(disk, { root: '/image', dataDirectory: '/data', way: 'in-place' }, undefined, forms),
    run: runProgram,
    dataDirectory: '/data',
    scratchDirectory: '/nowhere',
    ownerKeys: [],
    nowUnixMs: () => null,
    bootId: async () => 'boot-1',
    ...changes,
  };
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
