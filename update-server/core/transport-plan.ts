/**
 * Which forms of an image (packed blocks, piece index, recipes) are made without being asked for and in which order, which
 * ones a device may ask for, and which ones are kept. Pure: from what was published, and from what devices run.
 */
import type { PackedCoding } from '../../protocol/image-transport.ts';
import type { ReleaseView } from '../../protocol/operator-api.ts';

export type TransportForm =
  | { readonly kind: 'blocks'; readonly imageSha256: string; readonly coding: PackedCoding }
  | { readonly kind: 'pieces'; readonly imageSha256: string }
  | { readonly kind: 'recipe'; readonly imageSha256: string; readonly oldSha256: string };

export interface TransportFacts {
  /** Also withdrawn ones: devices still run them. */
  readonly releases: readonly (ReleaseView & { readonly withdrawn: boolean })[];
  /** How many enrolled devices run a release. */
  readonly installed: readonly {
    readonly hardwareClass: string;
    readonly channel: string | null;
    readonly sequence: number;
    readonly devices: number;
  }[];
}

type Release = TransportFacts['releases'][number];

/** One name for one form, fit for a file: `<image>.blocks-zstd`, `<image>.pieces`, `<image>.from-<old image>`. */
export function formName(form: TransportForm): string {
  const { imageSha256 } = form;
  if (form.kind === 'pieces') return `${imageSha256}.pieces`;
  if (form.kind === 'blocks') return `${imageSha256}.blocks-${form.coding}`;
  return `${imageSha256}.from-${form.oldSha256}`;
}

const FORM_NAME = /^([0-9a-f]{64})\.(?:(pieces)|blocks-(zstd|gzip)|from-([0-9a-f]{64}))$/;

/** The form that this is the name of, or undefined. */
export function formOfName(name: string): TransportForm | undefined {
  const [, imageSha256 = '', pieces, coding, oldSha256] = FORM_NAME.exec(name) ?? [];
  if (pieces !== undefined) return { kind: 'pieces', imageSha256 };
  if (coding !== undefined) return { kind: 'blocks', imageSha256, coding: coding as PackedCoding };
  return oldSha256 === undefined ? undefined : { kind: 'recipe', imageSha256, oldSha256 };
}

interface Image {
  readonly sizeBytes: number;
  readonly hardwareClasses: Set<string>;
}

export class TransportPlan {
  /** What is made without being asked for: what helps most devices first. */
  readonly wanted: readonly TransportForm[];
  /** Images of releases that are published now, by digest. */
  readonly #images = new Map<string, Image>();
  /** Of each recipe that may be made, by name: the hardware classes whose devices may ask for it. */
  readonly #recipes = new Map<string, Set<string>>();

  /** `recipesFrom`: recipes lead into the newest so many releases of a class and channel; 0 makes none. */
  constructor(facts: TransportFacts, recipesFrom: number) {
    for (const release of facts.releases.filter((one) => !one.withdrawn)) this.#listImages(release);
    const lines = linesOf(facts, Math.max(1, recipesFrom));
    const everything = facts.releases;
    for (const { recent } of lines) {
      if (recipesFrom === 0) break;
      for (const target of recent) for (const old of everything) this.#listRecipes(target, old);
    }
    this.wanted = orderOf(lines, recipesFrom);
  }

  /** An image of a published release, or undefined. */
  image(sha256: string): { readonly sizeBytes: number } | undefined {
    return this.#images.get(sha256);
  }

  /** May it be on disk? What may not is removed, and not served meanwhile. */
  keeps(form: TransportForm): boolean {
    return form.kind === 'recipe' ? this.#recipes.has(formName(form)) : this.#images.has(form.imageSha256);
  }

  /** May a device of this class have it made? */
  allows(form: TransportForm, hardwareClass: string): boolean {
    const classes =
      form.kind === 'recipe' ? this.#recipes.get(formName(form)) : this.#images.get(form.imageSha256)?.hardwareClasses;
    return classes?.has(hardwareClass) === true;
  }

  #listImages(release: Release): void {
    for (const { sha256, sizeBytes } of release.images) {
      const known = this.#images.get(sha256) ?? { sizeBytes, hardwareClasses: new Set() };
      known.hardwareClasses.add(release.hardwareClass);
      this.#images.set(sha256, known);
    }
  }

  /** Also across channels: a device may be moved from one to another. */
  #listRecipes(target: Release, old: Release): void {
    if (old.hardwareClass !== target.hardwareClass) return;
    for (const form of recipesBetween(old, target)) {
      const name = formName(form);
      this.#recipes.set(name, (this.#recipes.get(name) ?? new Set()).add(target.hardwareClass));
    }
  }
}

function recipesBetween(old: Release, target: Release): TransportForm[] {
  return target.images.flatMap(({ component, sha256 }): TransportForm[] => {
    const before = old.images.find((image) => image.component === component);
    if (before === undefined || before.sha256 === sha256) return [];
    return [{ kind: 'recipe', imageSha256: sha256, oldSha256: before.sha256 }];
  });
}

/** The releases of one class and channel that count now. */
interface Line {
  readonly devices: number;
  /** Published, newest first, at most so many. */
  readonly recent: readonly Release[];
  /** What comes before the newest, with the number of devices that run it: most first, then the newer one. */
  readonly before: readonly { readonly release: Release; readonly devices: number }[];
}

function linesOf({ releases, installed }: TransportFacts, recipesFrom: number): Line[] {
  const groups = Map.groupBy(releases, (release) => `${release.hardwareClass} ${release.channel}`);
  const lines = [...groups.values()].map((group) => {
    const newestFirst = group.toSorted((a, b) => b.sequence - a.sequence);
    const published = newestFirst.filter((release) => !release.withdrawn);
    const newest = published[0];
    const devicesOn = (release: Release): number =>
      installed
        .filter(
          (one) =>
            one.hardwareClass === release.hardwareClass &&
            (one.channel ?? release.channel) === release.channel &&
            one.sequence === release.sequence,
        )
        .reduce((sum, one) => sum + one.devices, 0);
    const counted = newestFirst
      .filter((release) => newest !== undefined && release.sequence < newest.sequence)
      .slice(0, recipesFrom)
      .map((release) => ({ release, devices: devicesOn(release) }));
    return {
      devices: counted.reduce((sum, one) => sum + one.devices, 0),
      recent: published.slice(0, recipesFrom),
      before: counted.toSorted((a, b) => b.devices - a.devices),
    };
  });
  return lines.toSorted((a, b) => b.devices - a.devices);
}

/**
 * Line by line, that with most devices to update first: packed blocks, of use to every device; the piece index, made in
 * no time; recipes by how many devices they serve. The same but recipes for the releases before the newest, last of all.
 */
function orderOf(lines: readonly Line[], recipesFrom: number): TransportForm[] {
  const forms = new Map<string, TransportForm>();
  const want = (form: TransportForm): void => {
    const name = formName(form);
    if (!forms.has(name)) forms.set(name, form);
  };
  const blocks = (release: Release): void => {
    for (const { sha256 } of release.images) want({ kind: 'blocks', imageSha256: sha256, coding: 'zstd' });
  };
  const pieces = (release: Release): void => {
    for (const { sha256 } of release.images) want({ kind: 'pieces', imageSha256: sha256 });
  };
  for (const { recent, before } of lines) {
    const [newest] = recent;
    if (newest === undefined) continue;
    blocks(newest);
    pieces(newest);
    if (recipesFrom > 0) for (const { release } of before) recipesBetween(release, newest).forEach(want);
  }
  for (const { recent } of lines) {
    for (const release of recent.slice(1)) {
      blocks(release);
      pieces(release);
    }
  }
  return [...forms.values()];
}
