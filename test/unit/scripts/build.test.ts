import { isBuiltin } from 'node:module';
import { type BuildOptions, build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { AGENT_BUNDLE_CAP_BYTES, BUNDLES, DEVICE_PROGRAMS, type DeviceProgram } from '../../../scripts/build.ts';

/** As it ships, but kept in memory. */
async function bundled(name: DeviceProgram): Promise<{
  readonly text: string;
  readonly inputs: string[];
  readonly imports: string[];
}> {
  const options: BuildOptions = BUNDLES[name];
  const { outputFiles, metafile } = await build({ ...options, write: false, metafile: true });
  const output = Object.values(metafile.outputs)[0];
  return {
    text: outputFiles[0]?.text ?? '',
    inputs: Object.keys(metafile.inputs),
    imports: (output?.imports ?? []).map(({ path }) => path),
  };
}

describe("the agent's bundles", () => {
  it.each(DEVICE_PROGRAMS)('%s is one file within its cap that needs nothing but Node', async (name) => {
    const { text, imports } = await bundled(name);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(AGENT_BUNDLE_CAP_BYTES);
    expect(imports.filter((path) => !isBuiltin(path))).toEqual([]);
    expect(text).not.toMatch(/\brequire\(/);
  });

  it('is made of our files and of the packages that were decided on', async () => {
    const { inputs } = await bundled('agent');
    const packages = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
    expect([...new Set(packages.filter((name) => name !== undefined))].sort()).toEqual([
      '@noble/ed25519',
      'cborg',
      'node-forge',
      'valibot',
    ]);
  });

  it('has nothing in the first boot that speaks over a network', async () => {
    const { text, inputs } = await bundled('firstboot');
    expect(inputs.filter((path) => /^agent\/(transport|reports)\/|update-server\//.test(path))).toEqual([]);
    for (const module of ['net', 'tls', 'http', 'https', 'http2', 'dgram', 'dns'])
      expect(text, module).not.toMatch(new RegExp(`node:${module}["'/]`));
  });
});
