/** What makes the lab's word about a maker's own image true. */
import { inFile, type Removal } from './removal.ts';

export const OWN_IMAGE: readonly Removal[] = [
  ...inFile(
    'scripts/root-tree/root-tree.ts',
    ['test/unit/scripts/root-tree/root-tree.test.ts'],
    [
      {
        name: "that nothing else of a maker's root file system differs",
        find: '.filter((path) => !files.has(path));\n  if (stray.length === 0)',
        replace: '.filter((path) => !files.has(path));\n  if (stray.length >= 0)',
      },
      {
        name: "that an entry's owner is compared",
        find: 'JSON.stringify([kind, mode, uid, gid, what])',
        replace: 'JSON.stringify([kind, mode, what])',
      },
    ],
  ),
  ...inFile(
    'scripts/qemu/accelerator.ts',
    ['test/unit/scripts/qemu/accelerator.test.ts'],
    [
      {
        name: 'that a board was booted with KVM before it is used',
        find: '  if (boots) return { accelerator',
        replace: '  if (boots || said) return { accelerator',
      },
    ],
  ),
];
