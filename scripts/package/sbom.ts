/**
 * The bill of materials of what is shipped, as CycloneDX 1.6 JSON: the bundle, the packages in it, and the Node beside
 * it when there is one. The same input gives the same bytes: the date is given, the serial number is made of the content.
 *
 * Source: https://cyclonedx.org/docs/1.6/json/
 */
import { createHash } from 'node:crypto';
import type { BundledPackage } from './bundled-packages.ts';
import type { NodeRuntime } from './node-runtime.ts';

export interface SbomFacts {
  readonly version: string;
  readonly programs: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  readonly ownBytes: number;
  readonly packages: readonly BundledPackage[];
  readonly runtime: NodeRuntime | undefined;
  readonly sourceDateEpoch: number;
}

const SPDX_ID = /^[A-Za-z0-9.+-]+$/;

export function sbomOf(facts: SbomFacts): string {
  const { version, programs, packages, runtime, ownBytes, sourceDateEpoch } = facts;
  const agent = `pkg:generic/holdfast-agent@${version}`;
  const names = new Map(packages.map((one) => [one.name, purlOf(one)]));
  const direct = packages.filter(({ name }) => !packages.some(({ dependencies }) => dependencies.includes(name)));
  const document = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: new Date(sourceDateEpoch * 1000).toISOString(),
      component: {
        type: 'application',
        'bom-ref': agent,
        name: 'holdfast-agent',
        version,
        licenses: [{ license: { id: 'Apache-2.0' } }],
        purl: agent,
        properties: sizes(ownBytes),
        components: programs.map(programFile),
      },
    },
    components: [...packages.map(componentOf), ...(runtime === undefined ? [] : [runtimeComponent(runtime)])],
    dependencies: [
      { ref: agent, dependsOn: [...direct.map(purlOf), ...(runtime === undefined ? [] : [purlOf(runtime)])] },
      ...packages.map((one) => ({
        ref: purlOf(one),
        dependsOn: one.dependencies.flatMap((name) => names.get(name) ?? []),
      })),
    ],
  };
  const serialNumber = `urn:uuid:${uuidOf(JSON.stringify(document))}`;
  const { bomFormat, specVersion, ...rest } = document;
  return `${JSON.stringify({ bomFormat, specVersion, serialNumber, ...rest }, undefined, 2)}\n`;
}

/** One of the files that the command `holdfast-agent` starts. */
function programFile({ name, bytes }: SbomFacts['programs'][number]): object {
  const content = createHash('sha256').update(bytes).digest('hex');
  return { type: 'file', name: `${name}.mjs`, hashes: [{ alg: 'SHA-256', content }] };
}

function componentOf(one: BundledPackage): object {
  return { ...described(one), properties: sizes(one.bytesInBundle) };
}

function runtimeComponent(runtime: NodeRuntime): object {
  return { ...described(runtime), type: 'platform', description: 'The Node that the agent runs on, a file of its own' };
}

function described(one: Pick<BundledPackage, 'name' | 'version' | 'license' | 'integrity'>): object {
  const purl = purlOf(one);
  return {
    type: 'library',
    'bom-ref': purl,
    name: one.name,
    version: one.version,
    // What the registry's archive hashes to: the lock file pins it, and npm checked it.
    hashes: [{ alg: 'SHA-512', content: Buffer.from(one.integrity.replace(/^sha512-/, ''), 'base64').toString('hex') }],
    licenses: [SPDX_ID.test(one.license) ? { license: { id: one.license } } : { expression: one.license }],
    purl,
  };
}

function sizes(bytes: number): object[] {
  return [{ name: 'holdfast:bytes-in-bundle', value: String(bytes) }];
}

/** A scope's @ is percent-encoded: package-url/purl-spec. */
function purlOf({ name, version }: { readonly name: string; readonly version: string }): string {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`;
}

/** RFC 9562 version 8: bits of our own making, here of the content. */
function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  const variant = '89ab'[Number.parseInt(hex[16] ?? '0', 16) & 3];
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}
