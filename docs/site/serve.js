// Serves the site on 127.0.0.1, for browsers that do not like file://. Run: node serve.js [PORT]
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { pipeline } from 'node:stream';

import { isMain, output } from './lib/tree.js';

const text = '; charset=utf-8';
const types = {
    '.css': `text/css${text}`, '.html': `text/html${text}`, '.js': `text/javascript${text}`, '.png': 'image/png', '.svg': 'image/svg+xml',
};

/** The file of the site that an address names, or null if it names none, or none of the site's. */
function fileOf(address) {
    try {
        const name = path.posix.normalize(`/${decodeURIComponent(address.split(/[?#]/)[0])}`);
        const file = path.join(output, name, name.endsWith('/') ? 'index.html' : '');
        return file.startsWith(output + path.sep) && fs.statSync(file).isFile() ? file : null;
    } catch {
        return null; // such as /%, or a file that is not there
    }
}

/** Answers one request with a file of the site, or with 404 or 405. */
function answer(request, response) {
    const end = (status, words) => response.writeHead(status, { 'content-type': `text/plain${text}` }).end(`${words}\n`);
    if (!['GET', 'HEAD'].includes(request.method)) return end(405, '405 Method Not Allowed');
    const file = fileOf(request.url);
    if (!file) return end(404, '404 Not Found');
    response.writeHead(200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' });
    if (request.method === 'HEAD') return response.end();
    return pipeline(fs.createReadStream(file), response, () => {}); // a reader who leaves is no trouble
}

/** Starts the server; port 0 takes any free one. Resolves to the server and its address. */
export function serve(port = 0) {
    const server = http.createServer(answer);
    return new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, '127.0.0.1', () =>
            resolve({ server, address: `http://127.0.0.1:${server.address().port}/` }),
        );
    });
}

if (isMain(import.meta.url)) {
    const { address } = await serve(Number(process.argv[2] ?? 0));
    console.log(`The site is at ${address} (Ctrl-C ends it)`);
}
