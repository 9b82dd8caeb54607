import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documents, ROOT, readProjectFile } from './project-files.ts';

const LINK = /\[[^\]]*\]\(([^)\s]+)\)/g;

/** The anchors that a reader's Markdown viewer makes of headings. */
function anchors(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+\s+(.*)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(/\s/g, '-'),
    ),
  );
}

async function brokenLinks(document: string): Promise<string[]> {
  const text = (await readProjectFile(document)).replaceAll(/```[\s\S]*?```/g, '');
  const broken: string[] = [];
  for (const [, target = ''] of text.matchAll(LINK)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? document : join(dirname(document), path);
    const there = await access(join(ROOT, file)).then(
      () => true,
      () => false,
    );
    if (!there) broken.push(`${target}: there is no such file`);
    else if (anchor !== undefined && file.endsWith('.md') && !anchors(await readProjectFile(file)).has(anchor)) {
      broken.push(`${target}: there is no such heading`);
    }
  }
  return broken;
}

describe('links between documents', async () => {
  for (const document of await documents()) {
    it(`${document} links only to what exists`, async () => {
      const broken = await brokenLinks(document);
      expect(broken, broken.join('; ')).toEqual([]);
    });
  }
});
