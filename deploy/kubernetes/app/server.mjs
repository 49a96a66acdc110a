// The example API behind Postern: it takes no call without its secret key. Put your own application in its place.

import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [, , address = '127.0.0.1:3000', keyFile = '/run/secrets/app/api-key'] = process.argv;
const separator = address.lastIndexOf(':');
const apiKey = Buffer.from(`Bearer ${readFileSync(keyFile, 'utf8').trim()}`);
const orders = new Map([['1001', { id: '1001', item: 'lamp', quantity: 2 }]]);

function holdsKey(authorization = '') {
  const given = Buffer.from(authorization);
  return given.length === apiKey.length && timingSafeEqual(given, apiKey);
}

function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

const server = createServer((request, response) => {
  request.resume();
  const path = request.url ?? '/';
  if (path === '/healthz') return answer(response, 200, { status: 'ok' });
  if (!holdsKey(request.headers.authorization)) return answer(response, 401, { error: 'this API needs its key' });
  // Names only, never values: they show that nothing of the agent's own has come through.
  const fields = Object.keys(request.headers).sort();
  if (path === '/orders') return answer(response, 200, { orders: [...orders.values()], fields });
  const order = orders.get(path.slice('/orders/'.length));
  return order === undefined
    ? answer(response, 404, { error: 'no such order' })
    : answer(response, 200, { order, fields });
});

// Loopback only: whoever wants to call this API has to come through Postern, which shares its network namespace.
server.listen({ host: address.slice(0, separator), port: Number(address.slice(separator + 1)) }, () => {
  process.stdout.write(`${JSON.stringify({ listening: `http://127.0.0.1:${server.address().port}` })}\n`);
});
process.on('SIGTERM', () => server.close(() => process.exit(0)));
