import { isBuiltin } from 'node:module';
import { type BuildOptions, build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { AGENT_BUNDLE_CAP_BYTES, BUNDLES } from '../../../scripts/build.ts';

/** As it ships, but kept in memory. */
async function bundledAgent(): Promise<{
  readonly text: string;
  readonly inputs: string[];
  readonly imports: string[];
}> {
  const options: BuildOptions = BUNDLES.agent;
  const { outputFiles, metafile } = await build({ ...options, write: false, metafile: true });
  const output = Object.values(metafile.outputs)[0];
  return {
    text: outputFiles[0]?.text ?? '',
    inputs: Object.keys(metafile.inputs),
    imports: (output?.imports ?? []).map(({ path }) => path),
  };
}

describe("the agent's bundle", () => {
  it('is one file within its cap that needs nothing but Node', async () => {
    const { text, imports } = await bundledAgent();
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(AGENT_BUNDLE_CAP_BYTES);
    expect(imports.filter((path) => !isBuiltin(path))).toEqual([]);
    expect(text).not.toMatch(/\brequire\(/);
  });

  it('is made of our files and of the packages that were decided on', async () => {
    const { inputs } = await bundledAgent();
    const packages = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
    expect([...new Set(packages.filter((name) => name !== undefined))].sort()).toEqual([
      '@noble/ed25519',
      'cborg',
      'node-forge',
      'valibot',
    ]);
  });
});
