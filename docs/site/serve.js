// Serves the site on 127.0.0.1, for browsers that do not like file://. Run: npm run serve
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { output } from './lib/tree.js';

const types = {
    '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript', '.png': 'image/png', '.svg': 'image/svg+xml',
};

/** Answers one request: a file of the site, index.html for a folder, and otherwise 404. */
function answer(request, response) {
    const { pathname } = new URL(request.url, 'http://localhost');
    let file = path.join(output, path.normalize(decodeURIComponent(pathname)));
    if (pathname.endsWith('/')) file = path.join(file, 'index.html');
    if (!file.startsWith(output + path.sep) || !fs.existsSync(file) || fs.statSync(file).isDirectory()) {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('404 Not Found\n');
        return;
    }
    const type = types[path.extname(file)] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': `${type}; charset=utf-8` });
    fs.createReadStream(file).pipe(response);
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

if (process.argv[1] === new URL(import.meta.url).pathname) {
    const { address } = await serve(Number(process.argv[2] ?? 0));
    console.log(`The site is at ${address} (Ctrl-C ends it)`);
}
