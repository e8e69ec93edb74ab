package ratelimit

import (
	"strconv"

	"github.com/redis/go-redis/v9"
)

// What stands in Redis. Nothing in it is a secret but who streams; names and
// subjects are hashed to bound their length.
//
//	edge:EDGE      lives as long as the edge's beats; EDGE is BASE.EPOCH; "1", or "0" when it is a newer EPOCH's turn
//	edges          set of all EDGEs
//	conns:EDGE     set of the leases of its connections
//	conn:PEER      set of the leases of a peer's connections; a LEASE is EDGE.NUMBER
//	stream:PEER    set of the leases of a peer's streams
//	subject:HASH   set of the leases of a subject's streams
//	name:HASH      lease: who publishes, since, address; next: who waits for it, nextat, nextsince, nextaddress
//	rate:PEER      when the bucket of connects is full, in µs
//	fail:PEER      the same of refused credentials
//	bits:PEER      per EDGE: the bit rate that it wants, and when it said so
//	ban:PEER       JSON, as long as the ban lasts
//	bans           the PEERs with a ban, by its end in ms
//	lifted:PEER    when a ban was lifted, in ms
//
// All keys carry the hash tag, so that they are on one node of a Redis Cluster.
const (
	prefix  = "{rtmps-edge}:"
	channel = prefix + "events"
)

// Answers of scripts, beside the Reasons.
const (
	answerOK   = "ok"
	answerGone = "gone" // this edge is not known: the membership is over
	answerHeld = "held" // the name's owner was asked to let go of it
	answerLost = "lost" // the name is another's
)

// keyTTLms is how long, in milliseconds, a set is kept without being refreshed:
// it bounds what edges that died leave behind. refreshEvery is well within it.
const keyTTLms = "900000"

// someLeases is how many leases of a set that nobody counts are looked at when one
// is added: more than one, so that those of dead edges become fewer.
const someLeases = "3"

// prelude is before each script. KEYS[1] is the prefix.
var prelude = `
local P = KEYS[1]
local TTL = ` + keyTTLms + `
local SOME = ` + someLeases + `
local WAITS = ` + strconv.FormatInt(waits.Microseconds(), 10) + `
local known = {}
local function living(edge)
  if known[edge] == nil then known[edge] = redis.call('EXISTS', P..'edge:'..edge) == 1 end
  return known[edge]
end
local function alive(lease) return living(string.match(lease, '^(.+)%.')) end
-- Whether an edge may say anything: what an older membership of it said may come
-- late, and its leases count until the newer one has told of them.
local function speaks(edge) return redis.call('GET', P..'edge:'..edge) == '1' end
-- Whether two leases are of one edge. It has one publisher of a name at most: the
-- other is on its way out.
local function together(a, b) return string.match(a, '^[^.]+') == string.match(b, '^[^.]+') end
local function number(lease) return tonumber(string.match(lease, '[^.]+$'), 36) end
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function count(key, this, holder)
  local n = 0
  for _, lease in ipairs(redis.call('SMEMBERS', key)) do
    if not alive(lease) then redis.call('SREM', key, lease)
    elseif lease ~= this and lease ~= holder then n = n + 1 end
  end
  return n
end
-- Whether a lease that asked for a name is waiting for it still.
local function waiting(lease, at) return lease and alive(lease) and now() - tonumber(at) < WAITS end
-- Adds a lease to a set. Where nobody counts, nobody finds those of edges that are
-- gone: some are looked for here, so that a busy set does not keep them for ever.
local function put(key, lease, counted)
  if not counted then
    for _, other in ipairs(redis.call('SRANDMEMBER', key, SOME)) do
      if not alive(other) then redis.call('SREM', key, other) end
    end
  end
  redis.call('SADD', key, lease)
  redis.call('PEXPIRE', key, TTL)
end
-- Moves a lease into a set, from what it was called in memberships before, which
-- are the arguments from first on: at no time it counts twice, or not at all.
local function move(key, lease, first)
  put(key, lease, false)
  for i = first, #ARGV do redis.call('SREM', key, ARGV[i]) end
end
local function event(e) redis.call('PUBLISH', P..'events', cjson.encode(e)) end
-- One event out of a bucket of size events: GCRA, as bucket.charge.
local function charge(key, interval, size)
  local t, whole = now(), interval * size
  local full = tonumber(redis.call('GET', key) or '0')
  full = math.min(math.max(full, t), t + whole)
  if full + interval > t + whole then return false end
  full = full + interval
  redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil((full - t) / 1000) + 1)
  return true
end
`

// lua is a script that join loads, and that is run by its hash only.
type lua struct {
	*redis.Script
	text string
}

func script(body string) lua { return lua{redis.NewScript(prelude + body), prelude + body} }

var scripts = []lua{beatScript, admitScript, connectedScript, streamScript, registerScript, releaseScript, failScript, bitsScript}

// edge, milliseconds
var beatScript = script(`
local edge, ms = ARGV[1], ARGV[2]
if not speaks(edge) then return 'gone' end
redis.call('PEXPIRE', P..'edge:'..edge, ms)
redis.call('PEXPIRE', P..'conns:'..edge, ms)
redis.call('SADD', P..'edges', edge)
redis.call('PEXPIRE', P..'edges', TTL)
return 'ok'`)

// edge, lease, peer, limit per peer, interval in µs, size, limit in all, ms
var admitScript = script(`
local edge, lease, peer, perPeer = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local interval, size, total, ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
if not speaks(edge) then return 'gone' end
if peer ~= '' then
  if interval > 0 and not charge(P..'rate:'..peer, interval, size) then return 'connect_rate_per_ip' end
  if perPeer > 0 and count(P..'conn:'..peer) >= perPeer then return 'connections_per_ip' end
end
if total > 0 then
  local n = 0
  for _, e in ipairs(redis.call('SMEMBERS', P..'edges')) do
    if living(e) then n = n + redis.call('SCARD', P..'conns:'..e)
    else redis.call('SREM', P..'edges', e) end
  end
  if n >= total then return 'connections' end
end
if peer ~= '' then put(P..'conn:'..peer, lease, perPeer > 0) end
redis.call('SADD', P..'conns:'..edge, lease)
redis.call('PEXPIRE', P..'conns:'..edge, ms)
return 'ok'`)

// edge, lease, peer, ms, and the lease in memberships before
//
// Tells of a connection that was admitted without asking, or long ago.
var connectedScript = script(`
local edge, lease, peer, ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not speaks(edge) then return 'gone' end
if peer ~= '' then move(P..'conn:'..peer, lease, 5) end
redis.call('SADD', P..'conns:'..edge, lease)
redis.call('PEXPIRE', P..'conns:'..edge, ms)
for i = 5, #ARGV do redis.call('SREM', P..'conns:'..string.match(ARGV[i], '^(.+)%.'), ARGV[i]) end
return 'ok'`)

// edge, lease, peer, subject, name, limit per peer, per subject, since, rule, address
//
// A holder that is asked for the name does not count: it goes, or the answer is
// a refusal anyway. Neither does the lease itself, which asks again while it
// waits.
var streamScript = script(`
local edge, lease, peer, subject, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local perPeer, perSubject, since, rule, address = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]
if not speaks(edge) then return 'gone' end
local key, holder = P..'name:'..name, false
if name ~= '' then
  holder = redis.call('HGET', key, 'lease')
  if holder and (holder == lease or not alive(holder)) then holder = false end
end
if peer ~= '' and perPeer > 0 and count(P..'stream:'..peer, lease, holder) >= perPeer then return 'streams_per_ip' end
if subject ~= '' and perSubject > 0 and count(P..'subject:'..subject, lease, holder) >= perSubject then return 'streams_per_subject' end
if holder then
  local n = redis.call('HMGET', key, 'next', 'nextat')
  if waiting(n[1], n[2]) and not together(n[1], lease) then return 'duplicate' end
  redis.call('HSET', key, 'next', lease, 'nextat', string.format('%.0f', now()), 'nextsince', since, 'nextaddress', address)
  event({t = 'ask', lease = holder, by = lease, rule = rule, address = address})
elseif name ~= '' then
  redis.call('DEL', key)
  redis.call('HSET', key, 'lease', lease, 'since', since, 'address', address)
  redis.call('PEXPIRE', key, TTL)
end
if peer ~= '' then put(P..'stream:'..peer, lease, perPeer > 0) end
if subject ~= '' then put(P..'subject:'..subject, lease, perSubject > 0) end
return holder and 'held' or 'ok'`)

// edge, lease, peer, subject, name, since, rule, address, humble, and the lease in
// memberships before
//
// Tells of a stream that was admitted without asking, or long ago. Of two
// publishers of one name the rule says who stays: the first, or, where the
// second may take over, the second. A humble one never wins by itself: its edge
// was thought dead, or it sends nothing. Who does not win asks, as a newcomer.
// The rule is the same for those who wait. Of one edge's, the newest has the name:
// the end of the others is on its way.
var registerScript = script(`
local edge, lease, peer, subject, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local since, rule, address, humble = ARGV[6], ARGV[7], ARGV[8], ARGV[9] == '1'
if not speaks(edge) then return 'gone' end
if peer ~= '' then move(P..'stream:'..peer, lease, 10) end
if subject ~= '' then move(P..'subject:'..subject, lease, 10) end
if name == '' then return 'ok' end
local key = P..'name:'..name
local h = redis.call('HMGET', key, 'lease', 'since', 'address', 'next', 'nextat', 'nextsince', 'nextaddress')
local holder, n = h[1], h[4]
local mine = holder and together(holder, lease)
local function wins(other, began, from)
  local younger = tonumber(since) > tonumber(began) or (since == began and lease > other)
  local over = rule == 'takeover' or (rule == 'same-ip' and from == address)
  return not humble and younger == over
end
if mine and (holder == lease or number(holder) > number(lease)) then
  redis.call('PEXPIRE', key, TTL)
  return 'ok'
end
if holder and not mine and alive(holder) then
  if not wins(holder, h[2], h[3]) then
    if waiting(n, h[5]) and not together(n, lease) and not wins(n, h[6], h[7]) then return 'lost' end
    redis.call('HSET', key, 'next', lease, 'nextat', string.format('%.0f', now()), 'nextsince', since, 'nextaddress', address)
    event({t = 'ask', lease = holder, by = lease, rule = 'reject', address = ''})
    return 'held'
  end
  event({t = 'lost', lease = holder})
end
redis.call('HSET', key, 'lease', lease, 'since', since, 'address', address)
redis.call('PEXPIRE', key, TTL)
return 'ok'`)

// lease, peer, subject, name
//
// Gives back a stream's places, and its name to who waits for it.
var releaseScript = script(`
local lease, peer, subject, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if peer ~= '' then redis.call('SREM', P..'stream:'..peer, lease) end
if subject ~= '' then redis.call('SREM', P..'subject:'..subject, lease) end
if name == '' then return 'ok' end
local key = P..'name:'..name
local h = redis.call('HMGET', key, 'lease', 'next', 'nextat', 'nextsince', 'nextaddress')
if h[1] == lease then
  redis.call('DEL', key)
  if waiting(h[2], h[3]) then
    redis.call('HSET', key, 'lease', h[2], 'since', h[4], 'address', h[5])
    redis.call('PEXPIRE', key, TTL)
    event({t = 'yours', lease = h[2]})
  end
elseif h[2] == lease then redis.call('HDEL', key, 'next', 'nextat', 'nextsince', 'nextaddress') end
return 'ok'`)

// peer, interval in µs, size
var failScript = script(`
if charge(P..'fail:'..ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])) then return 'ok' end
return 'banned'`)

// edge, milliseconds, and for each: peer, bits per second wanted
//
// Answers with a line for each peer: what the other edges want, apart by spaces.
var bitsScript = script(`
local edge, ms, t, out = ARGV[1], tonumber(ARGV[2]), math.floor(now() / 1000), {}
for i = 3, #ARGV, 2 do
  local key, others = P..'bits:'..ARGV[i], {}
  redis.call('HSET', key, edge, ARGV[i + 1]..' '..string.format('%.0f', t))
  redis.call('PEXPIRE', key, ms)
  local h = redis.call('HGETALL', key)
  for j = 1, #h, 2 do
    local want, at = string.match(h[j + 1], '^(%d+) (%d+)$')
    if together(h[j], edge) then
      if h[j] ~= edge then redis.call('HDEL', key, h[j]) end -- of a membership before
    elseif t - tonumber(at) < ms then table.insert(others, want)
    else redis.call('HDEL', key, h[j]) end
  end
  table.insert(out, table.concat(others, ' '))
end
return table.concat(out, '\n')`)
