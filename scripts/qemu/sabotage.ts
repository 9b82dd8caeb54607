/**
 * Agents that are built wrong on purpose, to show that the lab would notice. Never shipped: the bundle lies in the run's
 * folder, and is put over the packaged one in the images of that run alone.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { BUNDLES } from '../build.ts';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';

interface Change {
  /** Below the project's folder. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface Sabotage {
  readonly name: string;
  readonly title: string;
  /** The program that is built so. */
  readonly bundle: 'agent' | 'firstboot';
  readonly changes: readonly Change[];
  /** What must go red: scenarios by name, or a campaign. */
  readonly noticedBy: { readonly scenarios: readonly string[]; readonly cuts: number; readonly losses: number };
}

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: 'active-slot',
    title: 'writes to the slot that runs',
    bundle: 'agent',
    changes: [
      {
        file: 'agent/storage/slot-image.ts',
        from: 'const path = ports.board.imagePath(slot, component);\n  if (slot === booted ||',
        to: 'const path = ports.board.imagePath(booted, component);\n  if (slot === booted &&',
      },
    ],
    noticedBy: { scenarios: [], cuts: 5, losses: 0 },
  },
  {
    name: 'arm-unread',
    title: 'arms the trial before the image was read back',
    bundle: 'agent',
    changes: [
      {
        file: 'agent/effects/install.ts',
        from: 'const result = await readBack(x.ports, x.obtained, targetOf(x));',
        to: "const result = { found: 'equal', cached: [] } as Awaited<ReturnType<typeof readBack>>;",
      },
    ],
    noticedBy: { scenarios: ['altered'], cuts: 0, losses: 0 },
  },
  {
    name: 'no-sync',
    title: 'writes through the page cache and does not sync before the boot environment is written',
    bundle: 'agent',
    changes: [
      {
        file: 'agent/storage/slot-file.ts',
        from: "static async open(disk: Disk, path: string, mode: 'read' | 'update'): Promise<SlotFile> {",
        to: "static async open(disk: Disk, path: string, mode: 'read' | 'update'): Promise<SlotFile> {\n    return new SlotFile(await disk.open(path, mode), undefined);",
      },
      { file: 'agent/storage/slot-file.ts', from: 'return this.#cached.sync();', to: 'return Promise.resolve();' },
    ],
    noticedBy: { scenarios: [], cuts: 5, losses: 10 },
  },
  {
    name: 'late-escrow',
    title: 'keeps what it sealed for its owners only once everything is applied',
    bundle: 'firstboot',
    changes: [
      {
        file: 'agent/first-boot/effects.ts',
        from: 'if (this.#sealed !== null) await this.#folder.keepEscrow(this.#record.epoch, this.#sealed.blob);',
        to: 'const late = this.#sealed;\n    Object.assign(this, { late });',
      },
      {
        file: 'agent/first-boot/effects.ts',
        from: 'await this.#folder.discardStaged();',
        to: 'const { late } = this as { late?: { blob: Uint8Array } };\n    if (late) await this.#folder.keepEscrow(this.#record.epoch, late.blob);\n    await this.#folder.discardStaged();',
      },
    ],
    noticedBy: { scenarios: ['first-boot-cuts'], cuts: 0, losses: 0 },
  },
];

/** The bundle with these changes, as `outFile`. Throws when the source no longer reads as the change expects. */
export async function buildSabotaged({ bundle, changes, name }: Sabotage, outFile: string): Promise<void> {
  const texts = new Map<string, string>();
  for (const { file, from, to } of changes) {
    const path = join(PROJECT_DIRECTORY, file);
    const text = texts.get(path) ?? (await readFile(path, 'utf8'));
    if (text.split(from).length !== 2) throw new Error(`sabotage ${name}: ${file} does not hold once: ${from}`);
    texts.set(
      path,
      text.replace(from, () => to),
    );
  }
  const plugin: Plugin = {
    name: 'sabotage',
    setup({ onLoad }) {
      onLoad({ filter: /\/agent\/.*\.ts$/ }, ({ path }) => {
        const contents = texts.get(path);
        return contents === undefined ? undefined : { contents, loader: 'ts' };
      });
    },
  };
  const options = BUNDLES[bundle];
  await build({
    ...options,
    plugins: [plugin, ...options.plugins],
    absWorkingDir: PROJECT_DIRECTORY,
    outfile: outFile,
  });
}
