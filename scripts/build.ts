/**
 * Makes the three commands in dist/, and the server's worker. The agent ships as three files (the agent at work, the first boot,
 * and what a person sets a machine up with: docs/adr/0021-first-boot.md) with every package inside, because an image carries them and no node_modules; server and command line keep their packages outside and run beside node_modules.
 *
 * What went into each bundle stands in build/<name>.meta.json (esbuild's metafile), which `npm run bench -- agent` reads.
 *
 *   node scripts/build.ts [agent] [firstboot] [setup] [server] [worker] [cli]
 */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const projectRoot = dirname(dirname(fileURLToPath(import.meta.url)));
const stub = (name: string): string => join(projectRoot, 'scripts/build', name);

/** What is on every device, root's to run and ours to look after for years: a build of any of the three that grows beyond it fails. */
export const AGENT_BUNDLE_CAP_BYTES = 300 * 1024;
/** What bin/holdfast-agent starts, by its first word; the cap holds each. */
export const DEVICE_PROGRAMS = ['agent', 'firstboot', 'setup'] as const;
export type DeviceProgram = (typeof DEVICE_PROGRAMS)[number];
const ON_DEVICES: readonly string[] = DEVICE_PROGRAMS;

/**
 * Files inside packages that the agent never reaches, or of which it needs one small part. By importer and request. Each
 * stand-in says in its file what it stands for.
 */
const STAND_INS = [
  { importer: /node-forge\/lib\/asn1\.js$/, request: './util', standIn: 'byte-string-buffer.cjs' },
  { importer: /node-forge\/lib\/(asn1|oids)\.js$/, request: './oids', standIn: 'no-oid-names.cjs' },
] as const;

const standIns: Plugin = {
  name: 'stand-ins',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ importer, path }) => {
      const found = STAND_INS.find((entry) => entry.request === path && entry.importer.test(importer));
      return found === undefined ? undefined : { path: stub(found.standIn) };
    });
  },
};

/** Functions of node-forge's ASN.1 module that the agent never calls, 5 KB of it: dates, validation, printing. */
const UNREACHED_ASN1 = [
  'utcTimeToDate',
  'generalizedTimeToDate',
  'dateToUtcTime',
  'dateToGeneralizedTime',
  'integerToDer',
  'validate',
  'prettyPrint',
] as const;

const withoutUnreached: Plugin = {
  name: 'without-unreached',
  setup({ onLoad }) {
    onLoad({ filter: /node-forge\/lib\/asn1\.js$/ }, async ({ path }) => {
      let contents = await readFile(path, 'utf8');
      for (const name of UNREACHED_ASN1) {
        const found = new RegExp(`\\nasn1\\.${name} = function[\\s\\S]*?\\n};\\n`).exec(contents);
        if (found === null) throw new Error(`${path} has no function ${name} any more: look at UNREACHED_ASN1 again`);
        contents = contents.replace(found[0], '\n');
      }
      return { contents, loader: 'js' };
    });
  },
};

/** Modules of Node of which the agent calls functions now and then, and which an idle one never needs. */
const LATE_BUILTINS: readonly string[] = ['child_process'];

/**
 * Node's own modules by `process.getBuiltinModule`, and of each only the names that are used: an `import` reads every
 * export once, and with that loads what Node keeps for later (web cryptography, worker threads, readline, diff).
 */
const builtinsByName: Plugin = {
  name: 'builtins-by-name',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /./ }, ({ path, kind }) => {
      if (!isBuiltin(path)) return undefined;
      return { path: path.replace(/^node:/, ''), namespace: kind === 'require-call' ? 'builtin' : 'builtin-names' };
    });
    const get = (path: string): string => `process.getBuiltinModule(${JSON.stringify(`node:${path}`)})`;
    onLoad({ filter: /./, namespace: 'builtin' }, ({ path }) => ({ contents: `module.exports = ${get(path)};` }));
    onLoad({ filter: /./, namespace: 'builtin-names' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(`node:${path}`) ?? {}).filter(
        (name) => /^[a-z]\w*$/i.test(name) && name !== 'default',
      );
      const late = names.map((name) => `export const ${name} = (...given) => ${get(path)}.${name}(...given);`);
      const pick = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => it.${name})();`);
      const lines = LATE_BUILTINS.includes(path) ? late : [`const it = ${get(path)};`, ...pick];
      return { contents: lines.join('\n') };
    });
  },
};

const shared = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  metafile: true,
  absWorkingDir: projectRoot,
  legalComments: 'none',
  logLevel: 'warning',
} as const satisfies BuildOptions;

const onDevices = {
  ...shared,
  // The agent promises Node 22.15; the server and the tools run on 24.
  target: 'node22',
  minify: true,
  plugins: [standIns, withoutUnreached, builtinsByName],
  banner: { js: '#!/usr/bin/env node' },
} as const satisfies BuildOptions;

export const BUNDLES = {
  agent: { ...onDevices, entryPoints: ['agent/main.ts'], outfile: 'dist/holdfast-agent.mjs' },
  firstboot: { ...onDevices, entryPoints: ['agent/first-boot-main.ts'], outfile: 'dist/holdfast-firstboot.mjs' },
  setup: { ...onDevices, entryPoints: ['agent/setup-main.ts'], outfile: 'dist/holdfast-setup.mjs' },
  server: {
    ...shared,
    entryPoints: ['update-server/main.ts'],
    outfile: 'dist/holdfast-server.mjs',
    target: 'node24',
    packages: 'external',
    banner: { js: '#!/usr/bin/env node' },
  },
  /** What the server starts beside itself to make recipes and packed images (update-server/transport/worker-process.ts). */
  worker: {
    ...shared,
    entryPoints: ['update-server/transport/worker.ts'],
    outfile: 'dist/holdfast-transport-worker.mjs',
    target: 'node24',
    packages: 'external',
  },
  cli: {
    ...shared,
    entryPoints: ['cli/main.ts'],
    outfile: 'dist/holdfast.mjs',
    target: 'node24',
    packages: 'external',
    banner: { js: '#!/usr/bin/env node' },
  },
} as const satisfies Record<string, BuildOptions>;

export type BundleName = keyof typeof BUNDLES;

/** Builds one bundle and keeps its metafile. Returns the bundle's size in bytes. */
export async function buildBundle(name: BundleName): Promise<number> {
  const options: BuildOptions = BUNDLES[name];
  const { metafile } = await build({ ...options, metafile: true });
  const outfile = options.outfile ?? '';
  await chmod(join(projectRoot, outfile), 0o755);
  await mkdir(join(projectRoot, 'build'), { recursive: true });
  await writeFile(join(projectRoot, 'build', `${name}.meta.json`), JSON.stringify(metafile));
  return metafile.outputs[outfile]?.bytes ?? 0;
}

function isBundleName(name: string): name is BundleName {
  return Object.hasOwn(BUNDLES, name);
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !isBundleName(name));
  if (unknown !== undefined) {
    process.stderr.write(
      `build: no bundle is called ${unknown}\n  cure: give some of ${Object.keys(BUNDLES).join(', ')}, or none for all.\n`,
    );
    return 2;
  }
  for (const name of names.length > 0 ? names.filter(isBundleName) : (Object.keys(BUNDLES) as BundleName[])) {
    const entry = BUNDLES[name].entryPoints[0];
    if (!existsSync(join(projectRoot, entry))) {
      process.stderr.write(`build: ${entry} does not exist; ${name} is left out\n`);
      if (names.length > 0) return 1;
      continue;
    }
    const sizeBytes = await buildBundle(name);
    process.stdout.write(`${BUNDLES[name].outfile}  ${(sizeBytes / 1024).toFixed(1)} KB\n`);
    if (ON_DEVICES.includes(name) && sizeBytes > AGENT_BUNDLE_CAP_BYTES) {
      process.stderr.write(
        `build: ${BUNDLES[name].outfile} is larger than ${AGENT_BUNDLE_CAP_BYTES / 1024} KB\n  cure: \`npm run bench -- agent\` counts it by package.\n`,
      );
      return 1;
    }
  }
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main(process.argv.slice(2));
