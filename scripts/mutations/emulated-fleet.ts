/** Removals around the emulated fleet's first boot: what it may touch, what the demo demands of it, what the server enforces. */
import { inFile } from './removal.ts';

export const EMULATED_FLEET = [
  ...inFile(
    'agent/first-boot/own-root.ts',
    ['test/unit/agent/first-boot/own-root.test.ts'],
    [
      {
        name: 'the check that the root of an emulated device is no link',
        find: ' || (await leadsTo(root)) !== root || !(await isFolder(root))',
        replace: '',
      },
      {
        name: "the check that what the first boot keeps and wipes lies in the device's folder",
        find: 'if (!isBelow(await leadsTo(place), device)) throw leadsOut(place, device);',
        replace: '',
      },
      {
        name: 'the check of links to what is not there yet',
        find: 'if (await isThere(path)) throw leadsOut(path, dirname(path));',
        replace: '',
      },
      {
        name: 'the place of programs of an emulated image',
        find: 'isAbsolute(path) ? join(root, path) : path, words, given',
        replace: 'path, words, given',
      },
    ],
  ),
  ...inFile(
    'agent/first-boot/device-files.ts',
    ['test/unit/agent/first-boot/own-root.test.ts'],
    [
      {
        name: "the check that no path leads out of an emulated device's root",
        find: '    await this.#demandInside?.(literal);\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'scripts/demo/report.ts',
    ['test/unit/scripts/demo/report.test.ts'],
    [
      {
        name: "the demo's demand that nothing of the factory is left",
        find: ' && credentials.factoryLeft.length === 0',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'update-server/core/credential-standing.ts',
    ['test/unit/update-server/config.test.ts'],
    [
      {
        name: 'the gate that is enforced when nothing is said',
        find: "USUAL_POLICY: CredentialPolicy = { gate: 'enforce'",
        replace: "USUAL_POLICY: CredentialPolicy = { gate: 'report'",
      },
    ],
  ),
  ...inFile(
    'update-server/store/rotation-parts.ts',
    ['test/unit/update-server/store/rotations.test.ts'],
    [
      {
        name: 'that a proof counts while its rotation is halted',
        find: "AND state IN ('waiting', 'asked') AND state <> 'waiting'`;",
        replace:
          "AND state IN ('waiting', 'asked') AND state <> 'waiting' AND rotation IN (SELECT id FROM rotations WHERE state <> 'halted')`;",
      },
    ],
  ),
  ...inFile(
    'update-server/core/offer.ts',
    ['test/unit/update-server/store/rollouts.test.ts'],
    [
      {
        name: 'that a device without slots is offered nothing',
        find: 'if (poll.board === NO_SLOTS_BOARD) {',
        replace: 'if (poll.board === undefined) {',
      },
    ],
  ),
];
