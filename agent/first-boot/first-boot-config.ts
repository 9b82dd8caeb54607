/**
 * The member `firstBoot` of agent.json: which credentials this device makes for itself, whose keys they are sealed to,
 * what it is bound to, and what a factory reset wipes. Strict, as the rest of the file is; without it the command
 * `firstboot` refuses. The agent's other program leaves it unread, but for whether it is there.
 */
import { dirname, relative, resolve } from 'node:path';
import * as v from 'valibot';
import { EXIT, Fault } from '../../platform/fault.ts';
import { type AgentConfig, invalidField } from '../config.ts';
import { ProvidersConfig } from './providers-config.ts';

const Path = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));

export const FirstBootConfig = v.strictObject({
  /** Which credentials this device has; what is left out has its safe default. */
  providers: v.optional(ProvidersConfig, {}),
  escrow: v.optional(
    v.strictObject({
      minimumOwners: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(16)), 2),
      /** Owner keys in the factory image, for as long as the signed root names none; null: only the root's. */
      ownersFile: v.optional(v.nullable(Path), null),
    }),
    {},
  ),
  /** The owner's lines for authorized_keys, in the factory image; null: nobody logs in with a key. */
  loginKeysFile: v.optional(v.nullable(Path), null),
  /** What `holdfast label` wrote for this device (protocol/label.ts); null: it has no label. */
  labelFile: v.optional(v.nullable(Path), null),
  /** Where the traits of this board are read; agent/core/hardware.ts weighs them. `emmc-cid`: the folder of block devices. */
  hardware: v.optional(
    v.pipe(
      v.array(v.strictObject({ source: v.picklist(['device-tree-serial', 'otp', 'emmc-cid', 'maker']), path: Path })),
      v.maxLength(16),
    ),
    [
      { source: 'device-tree-serial', path: '/proc/device-tree/serial-number' },
      { source: 'emmc-cid', path: '/sys/block' },
    ],
  ),
  /** Folders that a factory reset empties. */
  applicationData: v.optional(v.pipe(v.array(Path), v.maxLength(32)), []),
  /** A file that, by being there, asks for a factory reset: on a partition that only a person at the device reaches. */
  resetRequest: v.optional(v.nullable(Path), null),
});
export type FirstBootConfig = v.InferOutput<typeof FirstBootConfig>;

/** With absolute paths. A Fault (exit 3) where there is none, or a field of it is wrong. */
export function firstBootConfigOf({ firstBoot, path, dataDirectory }: AgentConfig): FirstBootConfig {
  if (firstBoot === undefined) {
    throw new Fault({
      code: 'first-boot-not-configured',
      what: 'agent.json says nothing of a first boot',
      where: `${path}, field firstBoot`,
      cure: 'Add firstBoot with the credentials of this device (docs/AGENT_CONFIG.md), or take holdfast-firstboot.service out of the image.',
      exitStatus: EXIT.input,
    });
  }
  const parsed = v.safeParse(FirstBootConfig, firstBoot);
  if (!parsed.success) throw invalidField(path, parsed.issues[0], 'firstBoot');
  const { escrow, loginKeysFile, labelFile, hardware, applicationData, resetRequest } = parsed.output;
  const at = (relativePath: string): string => resolve(dirname(path), relativePath);
  const atOrNull = (relativePath: string | null): string | null => (relativePath === null ? null : at(relativePath));
  const folders = applicationData.map(at);
  const index = folders.findIndex((folder) => lieInEachOther(folder, dataDirectory));
  if (index >= 0) throw emptiesOurs(`${path}, field firstBoot.applicationData.${index}`, dataDirectory);
  return {
    ...parsed.output,
    escrow: { ...escrow, ownersFile: atOrNull(escrow.ownersFile) },
    loginKeysFile: atOrNull(loginKeysFile),
    labelFile: atOrNull(labelFile),
    hardware: hardware.map((trait) => ({ ...trait, path: at(trait.path) })),
    applicationData: folders,
    resetRequest: atOrNull(resetRequest),
  };
}

function emptiesOurs(where: string, dataDirectory: string): Fault {
  return new Fault({
    code: 'config-invalid',
    what: `a factory reset would empty the folder where the agent keeps what must outlive it (${dataDirectory})`,
    where,
    cure: 'Name only folders of the application, apart from dataDirectory.',
    exitStatus: EXIT.input,
  });
}

function lieInEachOther(one: string, other: string): boolean {
  const inside = (path: string, folder: string): boolean => !/^\.\.(\/|$)/.test(relative(folder, path));
  return inside(one, other) || inside(other, one);
}
