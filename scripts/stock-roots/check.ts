/** What is demanded of a stock root: no false error as folder, ext4, squashfs and erofs; all true ones proven; none once cured. */
import { cp, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IMAGE_TOOL_ENV } from '../images/ext4-image.ts';
import { Cases, type Suite } from '../package/check/suite.ts';
import { needProgram, runProgram } from '../programs.ts';
import type { StockRoot, TrueError } from './roots.ts';

const IMAGE_BYTES = 3 * 1024 ** 3;
const HOLDFAST = join(import.meta.dirname, '../../cli/main.ts');

interface Finding {
  readonly code: string;
  readonly severity: string;
  readonly path: string;
  readonly what: string;
}

interface Linted {
  readonly status: number;
  readonly findings: readonly Finding[];
  readonly volumes: readonly { readonly files: number }[];
}

/** Runs the command as a CI does. */
async function lint(image: string): Promise<Linted> {
  const { status, stdout } = await runProgram(process.execPath, [HOLDFAST, 'image', 'lint', image, '--json']);
  return { status, ...(JSON.parse(stdout) as Omit<Linted, 'status'>) };
}

const errorsOf = ({ findings }: Linted): Finding[] => findings.filter(({ severity }) => severity === 'error');
const words = ({ code, path, what }: Finding): string => `${code} ${path}: ${what}`;

export async function checkRoot(
  root: StockRoot,
  place: string,
  images: string,
  say: (line: string) => void,
): Promise<Suite> {
  const cases = new Cases(root.name, say);
  await mkdir(images, { recursive: true });
  const asFolder = await lint(place);
  const files = asFolder.volumes[0]?.files ?? 0;
  cases.check('files are looked through', files > 2000 ? [] : [`only ${files}`]);
  cases.check('no error is false', falseErrors(root.errors, errorsOf(asFolder)).map(words));
  cases.check('each true error is proven by another program', await unproven(root.errors, errorsOf(asFolder), place));
  cases.check('each kind of true error is found', missed(root.errors, errorsOf(asFolder)));
  for (const [format, make] of [
    ['ext4', makeExt4],
    ['squashfs', makeSquashfs],
    ['erofs', makeErofs],
  ] as const) {
    const image = join(images, `${root.name}.${format}`);
    await make(place, image);
    cases.check(`${format} says the same as the folder`, differences(asFolder, await lint(image)));
    await rm(image);
  }
  await checkCured(errorsOf(asFolder), place, join(images, 'cured'), cases);
  const count = (severity: string): number => asFolder.findings.filter((one) => one.severity === severity).length;
  cases.note(`${files} files: ${count('error')} true errors, ${count('warning')} warnings, ${count('note')} notes`);
  for (const finding of asFolder.findings)
    if (finding.severity !== 'note') cases.note(`${finding.severity} ${words(finding)}`);
  return cases.suite();
}

function falseErrors(known: readonly TrueError[], errors: readonly Finding[]): Finding[] {
  return errors.filter(({ code, path }) => !known.some((one) => one.code === code && one.path.test(path)));
}

function missed(known: readonly TrueError[], errors: readonly Finding[]): string[] {
  const found = (one: TrueError): boolean => errors.some(({ code, path }) => one.code === code && one.path.test(path));
  return known.filter((one) => !found(one)).map(({ code }) => code);
}

async function unproven(known: readonly TrueError[], errors: readonly Finding[], place: string): Promise<string[]> {
  const failed: string[] = [];
  for (const { code, path } of errors) {
    const [program = '', ...args] = known.find((one) => one.code === code && one.path.test(path))?.proof ?? [];
    if (program === '') continue;
    const { status } = await runProgram(program, [...args, join(place, path)]);
    if (status !== 0) failed.push(`${program} does not say so of ${path}`);
  }
  return failed;
}

/** Everything but what only a file system of its own has: lost+found. */
function differences(left: Linted, right: Linted): string[] {
  const [all, others] = [left, right].map(({ findings }) => new Set(findings.map(words))) as [Set<string>, Set<string>];
  const only = [...all].filter((line) => !others.has(line)).map((line) => `only of the folder: ${line}`);
  return [...only, ...[...others].filter((line) => !all.has(line)).map((line) => `only of the image: ${line}`)];
}

/** Does what the fixes say. */
async function checkCured(errors: readonly Finding[], place: string, cured: string, cases: Cases): Promise<void> {
  await rm(cured, { recursive: true, force: true });
  await cp(place, cured, {
    recursive: true,
    verbatimSymlinks: true,
    preserveTimestamps: true,
    filter: (path) => !path.startsWith(join(place, 'dev')),
  });
  for (const { code, path } of errors) {
    await rm(join(cured, path), { force: true });
    if (code === 'machine-id' && path === '/etc/machine-id') await writeFile(join(cured, path), '');
  }
  const linted = await lint(cured);
  cases.check('cured as the fixes say, it has no error, and the status is 0', [
    ...errorsOf(linted).map(words),
    ...(linted.status === 0 ? [] : [`status ${linted.status}`]),
  ]);
  await rm(cured, { recursive: true, force: true });
}

async function makeExt4(place: string, image: string): Promise<void> {
  await rm(image, { force: true });
  await writeFile(image, '');
  await truncate(image, IMAGE_BYTES);
  await needProgram('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', place, image], { env: IMAGE_TOOL_ENV });
}

async function makeErofs(place: string, image: string): Promise<void> {
  await needProgram('mkfs.erofs', ['--quiet', '-zlz4hc,9', '-C65536', image, place]);
}

async function makeSquashfs(place: string, image: string): Promise<void> {
  await needProgram('mksquashfs', [
    place,
    image,
    '-noappend',
    '-quiet',
    '-no-progress',
    '-comp',
    'zstd',
    '-Xcompression-level',
    '3',
  ]);
}
