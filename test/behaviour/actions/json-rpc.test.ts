import { describe, expect, it } from 'vitest';
import { readMcpCall as readWithFields } from '../../../src/behaviour/actions/json-rpc.ts';

const readMcpCall = (json: unknown, fields: Readonly<Record<string, readonly string[]>> = {}) =>
  readWithFields(json, new Map(Object.entries(fields)));

const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'send', arguments: { to: 'bob' } } };
const malformed = { effect: 'deny', reason: 'body_malformed' };

describe('readMcpCall', () => {
  it('reads method, tool and arguments', () => {
    expect(readMcpCall(call)).toEqual({ method: 'tools/call', tool: { name: 'send', arguments: { to: 'bob' } } });
    expect(readMcpCall({ jsonrpc: '2.0', method: 'notifications/initialized' })).toEqual({
      method: 'notifications/initialized',
      tool: null,
    });
  });

  it.each([
    ['no arguments', { name: 'send' }],
    ['null for arguments', { name: 'send', arguments: null }],
  ])('takes a tool with %s', (_name, params) => {
    expect(readMcpCall({ ...call, params })).toEqual({
      method: 'tools/call',
      tool: { name: 'send', arguments: undefined },
    });
  });

  it.each([
    ['an object of another kind', { method: 'card', amount: 1 }],
    ['a response', { jsonrpc: '2.0', id: 1, result: {} }],
    ['a string', 'tools/call'],
    ['null', null],
    ['nothing', undefined],
    ['a list of other things', [1, { method: 'x' }]],
  ])('finds no call in %s', (_name, json) => {
    expect(readMcpCall(json)).toBeNull();
  });

  it('finds a batch in a list with any JSON-RPC in it', () => {
    expect(readMcpCall([call])).toBe('batch');
    expect(readMcpCall([1, { JsonRPC: '2.0' }])).toBe('batch');
  });

  const read = { jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'file:///caf\u00e9' } };

  it.each<[string, object, Readonly<Record<string, readonly string[]>>]>([
    ['method and tool', call, { 'mcp-method': ['tools/call'], 'mcp-name': ['send'] }],
    ['the method alone', call, { 'mcp-method': ['tools/call'] }],
    ['a tool in base64', call, { 'mcp-name': ['=?base64?c2VuZA==?='] }],
    ['a resource in base64', read, { 'mcp-name': ['=?base64?ZmlsZTovLy9jYWbDqQ==?='] }],
  ])('takes fields that repeat %s', (_name, json, fields) => {
    expect(readMcpCall(json, fields)).toHaveProperty('method');
  });

  it.each<[string, unknown, Readonly<Record<string, readonly string[]>>]>([
    ['another method', call, { 'mcp-method': ['tools/list'] }],
    ['the method in other letters', call, { 'mcp-method': ['Tools/Call'] }],
    ['another tool', call, { 'mcp-name': ['search'] }],
    ['another tool in base64', call, { 'mcp-name': ['=?base64?c2VhcmNo?='] }],
    ['the tool twice', call, { 'mcp-name': ['send', 'send'] }],
    ['a name where there is none', { jsonrpc: '2.0', method: 'tools/list' }, { 'mcp-name': ['send'] }],
    ['one call of a batch', [call], { 'mcp-method': ['tools/call'] }],
  ])('refuses fields that say %s', (_name, json, fields) => {
    expect(readMcpCall(json, fields)).toMatchObject(malformed);
  });

  it.each([
    ['another version', { ...call, jsonrpc: '1.0' }],
    ['a version that is a number', { ...call, jsonrpc: 2 }],
    ['a method that is no string', { ...call, method: ['tools/call'] }],
    ['a tool without a name', { ...call, params: {} }],
    ['a tool whose name is no string', { ...call, params: { name: { a: 1 } } }],
    ['no parameters', { ...call, params: undefined }],
    ['parameters by position', { ...call, params: ['send'] }],
    ['arguments that are no object', { ...call, params: { name: 'send', arguments: ['bob'] } }],
    ['two methods in two spellings', { ...call, Method: 'tools/list' }],
    ['parameters in another spelling', { ...call, PARAMS: { name: 'other' } }],
    ['parameters spelt with a long s', { ...call, 'param\u017f': { name: 'other' } }],
    ['a tool in two spellings', { ...call, params: { name: 'send', Name: 'other' } }],
    ['arguments in two spellings', { ...call, params: { name: 'send', Arguments: {} } }],
    ['a version in another spelling', { JSONRPC: '2.0', method: 'tools/call' }],
  ])('refuses %s', (_name, json) => {
    expect(readMcpCall(json)).toMatchObject(malformed);
  });
});
