-- wrk script: POSTs the body in BODY_FILE with the headers in HEADERS ("name: value" lines).
-- DELAY_MS pauses each connection between its calls. UNIQUE=1 adds a request id and a trace header of its own to every call; KEYS_FILE rotates over its keys.
local function slurp(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local headers, keys, unique, count = {}, {}, os.getenv("UNIQUE") == "1", 0
for name, value in (os.getenv("HEADERS") or ""):gmatch("([^:\n]+): ([^\n]+)") do headers[name] = value end
if os.getenv("KEYS_FILE") then for key in slurp(os.getenv("KEYS_FILE")):gmatch("%S+") do keys[#keys + 1] = key end end
local body = slurp(os.getenv("BODY_FILE"))
local salt = tostring({}):match("0x(%x+)") or "0"
local trace = string.format("00-%024x", tonumber(salt, 16) % 2 ^ 52)

if os.getenv("DELAY_MS") then
  function delay() return tonumber(os.getenv("DELAY_MS")) end
end

-- What stands between "@ID", "@TRACE" and "@KEY" is put together once: the load shares the cores with what it measures.
local parts, names

local function prepare()
  if unique then headers["x-request-id"], headers["traceparent"] = "@ID", "@TRACE" end
  if #keys > 0 then headers["authorization"] = "Bearer @KEY" end
  local text, at = wrk.format("POST", wrk.path, headers, body), 1
  local last = text:find("\r\n\r\n", 1, true)
  parts, names = {}, {}
  while true do
    local from, to, name = text:find("@(%u+)", at)
    if not from or from > last then break end
    parts[#parts + 1], names[#names + 1] = text:sub(at, from - 1), name
    at = to + 1
  end
  parts[#parts + 1] = text:sub(at)
end

local made = {
  ID = function() return salt .. "-" .. count end,
  TRACE = function() return string.format("%s%08x-%08x%08x-01", trace, count, 1, count) end,
  KEY = function() return keys[count % #keys + 1] end,
}

request = function()
  if not parts then prepare() end
  if #names == 0 then return parts[1] end
  count = count + 1
  local text = parts[1]
  for at = 1, #names do text = text .. made[names[at]]() .. parts[at + 1] end
  return text
end

done = function(summary, latency)
  io.write(string.format('RESULT {"requests":%d,"us":%d,"p50_ms":%.3f,"p99_ms":%.3f,"bad":%d,"socket":%d}\n', summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
