/**
 * The wires between a device in a container and a stranger: two network namespaces and a pair of virtual cards for each
 * network manager. Nothing of it reaches this machine's own network. Needs root.
 */
import { needProgram, runProgram } from '../programs.ts';

export interface Link {
  /** The device's card, and which manager it is for. */
  readonly card: string;
  readonly manager: string;
  readonly deviceIpv4: string;
  readonly deviceIpv6: string;
  readonly strangerIpv4: string;
  readonly strangerIpv6: string;
}

function linkOf(index: number, manager: string): Link {
  return {
    card: `eth${index}`,
    manager,
    deviceIpv4: `198.51.100.${index * 4 + 2}`,
    strangerIpv4: `198.51.100.${index * 4 + 1}`,
    deviceIpv6: `fd00:0:0:${index + 1}::2`,
    strangerIpv6: `fd00:0:0:${index + 1}::1`,
  };
}

export const LINKS: readonly Link[] = ['systemd-networkd.service', 'networking.service', 'NetworkManager.service'].map(
  (manager, index) => linkOf(index, manager),
);
/** Prefix lengths of the addresses above. */
export const IPV4_BITS = 30;
export const IPV6_BITS = 64;

export class Wires {
  readonly device: string;
  readonly stranger: string;

  private constructor(name: string) {
    this.device = `${name}-device`;
    this.stranger = `${name}-stranger`;
  }

  /** `name` is unique on this machine. The device's cards are down and have no address: its own managers see to that. */
  static async lay(name: string): Promise<Wires> {
    const wires = new Wires(name);
    for (const space of [wires.device, wires.stranger]) await needProgram('ip', ['netns', 'add', space]);
    for (const link of LINKS) await wires.#pull(link);
    await wires.#outside('link', 'set', 'lo', 'up');
    return wires;
  }

  async #pull({ card, strangerIpv4, strangerIpv6 }: Link): Promise<void> {
    const peer = ['peer', 'name', card, 'netns', this.device];
    await needProgram('ip', ['link', 'add', card, 'netns', this.stranger, 'type', 'veth', ...peer]);
    await this.#outside('address', 'add', `${strangerIpv4}/${IPV4_BITS}`, 'dev', card);
    await this.#outside('address', 'add', `${strangerIpv6}/${IPV6_BITS}`, 'dev', card, 'nodad');
    await this.#outside('link', 'set', card, 'up');
  }

  #outside(...words: string[]): Promise<unknown> {
    return needProgram('ip', ['-netns', this.stranger, ...words]);
  }

  /** Cards go with their namespace. */
  async cut(): Promise<void> {
    for (const space of [this.device, this.stranger]) await runProgram('ip', ['netns', 'delete', space]);
  }
}
