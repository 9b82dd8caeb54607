/** How the images of a release travel besides whole, as rows of a table: for `holdfast release show`. */
import type { ReleaseView, TransportState } from '../protocol/operator-api.ts';
import { formatBytes } from './progress.ts';

export interface ReleasesAndTransport {
  readonly releases: readonly ReleaseView[];
  readonly transport: readonly TransportState[];
}

/** In the server's order: what it makes first comes first. */
export function transportRows(release: ReleaseView, all: ReleasesAndTransport): string[][] {
  return transportOf(release, all).map((state) => {
    const component = release.images.find((image) => image.sha256 === state.imageSha256)?.component ?? '';
    return [`${component} as ${formText(state, release, all.releases)}`, stateText(state)];
  });
}

export function transportOf(release: ReleaseView, { transport }: ReleasesAndTransport): TransportState[] {
  const images = new Set(release.images.map((image) => image.sha256));
  return transport.filter((state) => images.has(state.imageSha256));
}

function formText(state: TransportState, release: ReleaseView, releases: readonly ReleaseView[]): string {
  if (state.kind !== 'recipe')
    return { 'blocks-zstd': 'zstd', 'blocks-gzip': 'gzip', pieces: 'piece index' }[state.kind];
  const old = releases.find(
    ({ hardwareClass, images }) =>
      hardwareClass === release.hardwareClass && images.some(({ sha256 }) => sha256 === state.fromSha256),
  );
  return `delta from ${old?.version ?? `image ${state.fromSha256?.slice(0, 12)}`}`;
}

function stateText({ state, sizeBytes, donePercent, detail }: TransportState): string {
  if (state === 'made') return formatBytes(sizeBytes ?? 0);
  if (state === 'making') return `being made: ${detail}, ${donePercent ?? 0} %`;
  return state === 'failed' ? `failed: ${detail}` : 'waits to be made';
}
