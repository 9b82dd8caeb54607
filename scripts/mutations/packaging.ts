/** Removals in taking a machine over and in what a package is made of. */
import { inFile } from './removal.ts';

export const PACKAGING = [
  ...inFile(
    'agent/adopt/adoption.ts',
    ['test/unit/agent/adopt/adoption.test.ts'],
    [
      {
        name: 'the record before an adoption',
        find: '    await writeDurably(disk, this.#recordPath, bytesOf(JSON.stringify(plan)));\n',
        replace: '',
      },
      {
        name: 'that an adoption replaces no file',
        find: 'if ((await this.#text(path)) === undefined) await writeDurably',
        replace: 'await writeDurably',
      },
      {
        name: 'that changed files are left when an adoption is taken back',
        find: 'if (now === text) await removeDurably',
        replace: 'if (now !== undefined) await removeDurably',
      },
      {
        name: 'that a unit which was enabled before stays so',
        find: 'if (!unit.enabled) await this.#must',
        replace: 'await this.#must',
      },
      {
        name: 'the removal of what an adoption was writing when it was cut',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a template
        find: '      await this.#disk.remove(`${path}.new`);\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/adopt/survey.ts',
    ['test/unit/agent/adopt/survey.test.ts'],
    [
      {
        name: 'the check that only root reads the claim',
        find: 'if (((await stat(path)).mode & 0o77) === 0) return',
        replace: 'if (true) return',
      },
      {
        name: 'the demand of a data partition where there are slots',
        find: "'slots' in board ? missing : advice",
        replace: 'advice',
      },
    ],
  ),
  ...inFile(
    'scripts/package/deb.ts',
    ['test/unit/scripts/package/packages.test.ts'],
    [
      {
        name: 'the one date of everything in a package',
        find: '    await oneDate(stage, facts.sourceDateEpoch);\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'scripts/package/bundled-packages.ts',
    ['test/unit/scripts/package/packages.test.ts'],
    [
      {
        name: 'that what tree shaking left out is not listed',
        find: '    if (bytesInOutput === 0) continue;\n',
        replace: '',
      },
      {
        name: 'that a bundled package is the pinned one',
        find: 'if (pinned?.integrity === undefined || pinned.version !== version)',
        replace: 'if (pinned?.integrity === undefined)',
      },
    ],
  ),
];
