// The page's way to the server: the same API as everybody's, signed in by the cookie.

export async function get(path) {
  const answer = await fetch(path, { headers: { accept: 'application/json' }, cache: 'no-store' });
  if (answer.status === 401) {
    location.reload();
    throw new Error('signed out');
  }
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.what}. ${body.cure}`);
  return body;
}

export async function signOut() {
  await fetch('/session', { method: 'DELETE', headers: { 'x-holdfast-page': '1' } });
  location.reload();
}

/** Calls back with the kinds that changed; `onLive` hears whether the stream stands. The browser reconnects by itself. */
export function listen(onChange, onLive) {
  const stream = new EventSource('/api/v1/events');
  stream.addEventListener('open', () => onLive(true));
  stream.addEventListener('error', () => onLive(false));
  stream.addEventListener('change', (event) => onChange(JSON.parse(event.data).kind));
}
