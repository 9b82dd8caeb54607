/** What makes the word of `holdfast image lint` true. */
import { inFile, type Removal } from './removal.ts';

const PLANTS = 'test/unit/cli/image-lint/lint.test.ts';
const HOSTILE = 'test/unit/cli/image-lint/hostile.test.ts';

export const IMAGE_LINT: readonly Removal[] = [
  ...inFile(
    'cli/image-lint/tree.ts',
    [HOSTILE],
    [
      {
        name: 'that a name which leads out of its folder is refused',
        find: "if (name === '' || name === '.' || name === '..' || /[/\\0]/.test(name)) {",
        replace: "if (name === '') {",
      },
      {
        name: "that a link's absolute target begins at the image's root",
        find: "if (entry.target.startsWith('/')) at = '';",
        replace: '',
      },
    ],
  ),
  ...inFile(
    'cli/image-lint/readers/erofs-clusters.ts',
    ['test/unit/cli/image-lint/erofs.test.ts'],
    [
      {
        name: 'the mark of the end among the runs of an erofs',
        find: 'const isMark = last.type !== TYPE.inside && index * 2 ** map.clusterBits + last.offset >= sizeBytes;',
        replace: 'const isMark = false;',
      },
      {
        name: 'the blocks of a long run of an erofs',
        find: 'runBytes = (next?.runBlocks ?? 1) * blockBytes;',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'cli/image-lint/rules/holdfast.ts',
    [PLANTS],
    [
      {
        name: 'that a login is ordered behind its gate, and not only bound to it',
        find: "(has('BindsTo') || has('Requires')) && has('After')",
        replace: "(has('BindsTo') || has('Requires'))",
      },
    ],
  ),
  ...inFile(
    'cli/image-lint/rules/private-keys.ts',
    ['test/unit/cli/image-lint/rules/tokens.test.ts'],
    [
      {
        name: 'that a key stands behind the words BEGIN PRIVATE KEY',
        find: 'derElement(key, 0)?.end === key.length ?',
        replace: 'key.length > 0 ?',
      },
    ],
  ),
  ...inFile(
    'cli/image-lint/crypt.ts',
    ['test/unit/cli/image-lint/crypt.test.ts'],
    [
      {
        name: "that a hash's costs are limited in memory",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a template
        find: ' ulimit -v ${limits.memoryKib};',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'cli/image-lint/allowance.ts',
    ['test/unit/cli/image-lint/allowance.test.ts'],
    [
      {
        name: 'that an allowance fits its own code alone',
        find: 'if (code !== finding.code) return false;',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'cli/commands/image.ts',
    ['test/unit/cli/image-lint/command.test.ts'],
    [
      {
        name: 'that an error ends the command with 4',
        find: 'exitStatus: ok ? EXIT.ok : EXIT.refused',
        replace: 'exitStatus: EXIT.ok',
      },
    ],
  ),
  ...inFile(
    'cli/commands/release.ts',
    ['test/unit/cli/release-agent.test.ts'],
    [
      {
        name: 'that a production release without an agent needs an exception',
        find: "if (environment === 'production') throw fault;",
        replace: '',
      },
    ],
  ),
];
