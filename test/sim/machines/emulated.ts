/** The emulated board and its boot loop, as scripts/emulator runs it. */
import { EmulatedBoard } from '../../../agent/boards/emulated.ts';
import { writeDurably } from '../../../platform/durable-file.ts';
import {
  chooseBoot,
  emulatedPaths,
  encodeBooted,
  FACTORY_BOOT_ENV,
  readBootEnv,
  writeBootEnv,
} from '../../../platform/emulated-boot-env.ts';
import type { MachineKind } from './machine.ts';

export const EMULATED: MachineKind = {
  name: 'emulated',

  async makeFactory(disk, directory) {
    await disk.makeDirectory(`${directory}/board`);
    await disk.syncDirectory(directory);
    for (let copies = 0; copies < 2; copies += 1)
      await writeBootEnv(disk, directory, { order: ['a', 'b'], trial: null });
  },

  start(disk, directory) {
    return {
      board: new EmulatedBoard(disk, directory),
      async powerOn(bootId) {
        const env = (await readBootEnv(disk, directory)) ?? FACTORY_BOOT_ENV;
        const choice = chooseBoot(env);
        if (choice.env !== env) await writeBootEnv(disk, directory, choice.env);
        const facts = { bootId, slot: choice.slot, trial: choice.trial };
        await writeDurably(disk, emulatedPaths(directory).booted, encodeBooted(facts));
        await disk.remove(emulatedPaths(directory).rebootRequest);
        return facts;
      },
    };
  },

  flags: (disk, directory) => readBootEnv(disk, directory),
};
