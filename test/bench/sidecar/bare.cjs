'use strict'
const { createServer } = require('node:http')

createServer((_request, response) => response.writeHead(200, { 'Content-Length': 2 }).end('ok')).listen(
  Number(process.env.PORT),
  '127.0.0.1',
)
