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

if os.getenv("DELAY_MS") then
  function delay() return tonumber(os.getenv("DELAY_MS")) end
end

request = function()
  count = count + 1
  if unique then
    headers["x-request-id"] = string.format("%s-%d", salt, count)
    headers["traceparent"] = string.format("00-%032x-%016x-01", count * 2654435761 % 2 ^ 52, count)
  end
  if #keys > 0 then headers["authorization"] = "Bearer " .. keys[count % #keys + 1] end
  return wrk.format("POST", wrk.path, headers, body)
end

done = function(summary, latency)
  io.write(string.format('RESULT {"requests":%d,"us":%d,"p50_ms":%.3f,"p99_ms":%.3f,"bad":%d,"socket":%d}\n', summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
