/** What is counted of each recorded boot, as the report's rows have it, and of all of them together. */
import type { CountRow } from '../scenario.ts';
import type { Recorded } from '../wire/capture.ts';
import { Coverage, type Doors } from '../wire/coverage.ts';
import { LAST_PORT, UDP_PORTS } from '../wire/knocker.ts';
import type { BootKind } from './boot-plan.ts';
import { acceptedIn } from './knocked-device.ts';

/** So many boots try every port before OPEN; fewer a part of them, and the report says which. */
const WHOLE_FROM_BOOTS = 50;

export interface RecordedBoot {
  readonly number: number;
  readonly device: string;
  /** `cut`: the first boot that lost its power, before the one that counts. */
  readonly kind: BootKind | 'cut';
  /** Since power on; undefined: it lost its power first. */
  readonly opensAfterS: number | undefined;
  /** Of the card that somebody knocks at. */
  readonly recorded: Recorded;
  /** Connections that the card to the server accepted until OPEN. */
  readonly acceptedByServerCard: number;
  /** While its link was up, until OPEN. */
  readonly tried: Doors;
}

export class BootRows {
  readonly #coverage = new Coverage();
  readonly #rows: CountRow[] = [];

  add({ number, device, kind, opensAfterS, recorded, acceptedByServerCard, tried }: RecordedBoot): void {
    const { before, after } = recorded;
    this.#coverage.add(tried);
    this.#rows.push({
      boot: number,
      device,
      kind,
      'OPEN after, s': opensAfterS ?? '–',
      'to it before': before.received,
      'from it before': before.sent,
      'of these to neighbours': before.neighbourTalk,
      'accepted before': acceptedIn(before) + acceptedByServerCard,
      'answers before': before.answers.length,
      'TCP IPv4 ports': tried.tcp[4].size,
      'TCP IPv6 ports': tried.tcp[6].size,
      'UDP IPv4 ports': tried.udp[4].size,
      'UDP IPv6 ports': tried.udp[6].size,
      'accepted after': acceptedIn(after),
    });
  }

  /** Where the next sweep goes on. */
  nextPort(underWay: readonly number[]): number {
    return this.#coverage.nextPort(underWay);
  }

  get rows(): readonly CountRow[] {
    return this.#rows.toSorted((one, other) => Number(one.boot) - Number(other.boot));
  }

  /** Counts are added up; a port that two boots tried counts once. */
  sums(first: string): CountRow {
    const counts = ['to it before', 'from it before', 'of these to neighbours', 'accepted before', 'answers before'];
    return {
      boot: first,
      ...Object.fromEntries([...counts, 'accepted after'].map((name) => [name, this.sum(name)])),
      'TCP IPv4 ports': this.#coverage.count('tcp', 4),
      'TCP IPv6 ports': this.#coverage.count('tcp', 6),
      'UDP IPv4 ports': this.#coverage.count('udp', 4),
      'UDP IPv6 ports': this.#coverage.count('udp', 6),
    };
  }

  sum(name: string): number {
    return this.#rows.reduce((total, row) => total + Number(row[name] ?? 0), 0);
  }

  /** Whether so many boots tried what they must, and what they tried. */
  covered(boots: number): { readonly holds: boolean; readonly text: string } {
    const count = (kind: 'tcp' | 'udp', family: 4 | 6): number => this.#coverage.count(kind, family);
    const [four, six] = [count('tcp', 4), count('tcp', 6)];
    const udp = [count('udp', 4), count('udp', 6)];
    const some = four > 0 && six > 0 && udp.every((ports) => ports >= UDP_PORTS.length);
    return {
      holds: some && (boots < WHOLE_FROM_BOOTS || this.#coverage.isWhole),
      text: `${four} of ${LAST_PORT} TCP ports over IPv4, ${six} over IPv6; ${udp.join(' and ')} of ${UDP_PORTS.length} UDP ports`,
    };
  }
}
