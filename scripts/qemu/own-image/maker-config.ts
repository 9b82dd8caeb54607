/** agent.json of a maker's image: the agent itself says whether it is right, and the lab reads what it needs of it. */
import { writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { EXIT, Fault } from '../../../platform/fault.ts';
import { PROJECT_DIRECTORY } from '../../images/demo-images.ts';
import { runProgram } from '../../programs.ts';

export const CONFIG_PATH = '/etc/holdfast/agent.json';
/** The agent reads no more either. */
export const CONFIG_CAP_BYTES = 64 * 1024;

const Images = v.record(v.string(), v.string());
const Said = v.object({
  vendor: v.string(),
  hardwareClass: v.string(),
  channel: v.string(),
  environment: v.string(),
  board: v.object({ kind: v.string(), slots: v.optional(v.object({ a: Images, b: Images })) }),
  dataDirectory: v.string(),
  factoryRoot: v.string(),
  factoryInstalled: v.object({ sequence: v.number(), version: v.string() }),
  claimFile: v.string(),
  server: v.object({ url: v.string(), mqttUrl: v.nullable(v.string()), anchorsFile: v.string() }),
});

/** Paths as they are on the device, absolute. */
export type MakerConfig = v.InferOutput<typeof Said>;

const Refusal = v.object({ code: v.string(), what: v.string(), cure: v.string() });

/** Throws the agent's own Fault for what it would refuse. `folder`: where a copy is put for it. */
export async function readMakerConfig(text: string, folder: string): Promise<MakerConfig> {
  const file = join(folder, 'agent.json');
  await writeFile(file, text);
  const words = ['status', '--config', file, '--json'];
  const { status, stdout, stderr } = await runProgram(join(PROJECT_DIRECTORY, 'bin/holdfast-agent'), words);
  if (status !== EXIT.ok) throw faultOf(stdout, stderr);
  const config = v.parse(Said, JSON.parse(text));
  const at = (path: string): string => resolve(dirname(CONFIG_PATH), path);
  return {
    ...config,
    dataDirectory: at(config.dataDirectory),
    factoryRoot: at(config.factoryRoot),
    claimFile: at(config.claimFile),
    server: { ...config.server, anchorsFile: at(config.server.anchorsFile) },
  };
}

function faultOf(stdout: string, stderr: string): Fault {
  const said = v.safeParse(v.pipe(v.string(), v.parseJson(), Refusal), stdout);
  return new Fault({
    code: said.success ? said.output.code : 'config-invalid',
    what: said.success ? said.output.what : `the agent does not take it: ${stderr.trim().slice(-500)}`,
    where: CONFIG_PATH,
    cure: said.success ? said.output.cure : 'Write it as docs/AGENT_CONFIG.md says.',
    exitStatus: EXIT.input,
  });
}

/** The maker's agent.json for the lab's server, and which fields are not the maker's. */
export function configOfLab(
  text: string,
  lab: { readonly url: string; readonly mqttUrl: string; readonly environment: string },
): { text: string; changed: string[] } {
  const config = v.parse(v.pipe(v.string(), v.parseJson(), v.looseObject({ server: v.looseObject({}) })), text);
  const changed = ['server.url'];
  config.server.url = lab.url;
  if (config.server.mqttUrl !== null) {
    config.server.mqttUrl = lab.mqttUrl;
    changed.push('server.mqttUrl');
  }
  if (config.environment !== lab.environment) {
    config.environment = lab.environment;
    changed.push('environment');
  }
  return { text: `${JSON.stringify(config, null, 2)}\n`, changed };
}
