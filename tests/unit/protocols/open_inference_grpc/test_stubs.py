"""Our messages are those of the public protocol, and stay out of the way of a client's."""

import subprocess
import sys

from modelyard.protocols.open_inference_grpc.routes import PROTOCOL, STREAMED
from modelyard.protocols.open_inference_grpc.stubs import methods

COMPARE = """
from modelyard.protocols.open_inference_grpc import stubs
from tritonclient.grpc import service_pb2  # would fail if ours were in protobuf's default pool

def compare(ours, theirs, seen):
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    assert ours.full_name == theirs.full_name
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), field.full_name
        if field.enum_type:
            for value in field.enum_type.values:
                assert value.number == field.enum_type.values_by_name[value.name].number
                assert value.number == other.enum_type.values_by_name[value.name].number
        if field.message_type:
            compare(field.message_type, other.message_type, seen)

service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
seen = set()
for path, kinds in stubs.methods().items():
    method = service.methods_by_name[path.rpartition("/")[2]]
    assert path == "/inference.GRPCInferenceService/" + method.name
    compare(kinds[0].DESCRIPTOR, method.input_type, seen)
    compare(kinds[1].DESCRIPTOR, method.output_type, seen)
print(len(seen))
"""


def test_names_types_and_numbers_are_those_of_tritons_client():
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_only_health_needs_no_key():
    routes = [*PROTOCOL.routes, *STREAMED.routes]
    assert {route.pattern.rpartition("/")[2] for route in routes if route.action is None} == {"ServerLive", "ServerReady"}
    assert {route.pattern for route in routes} == set(methods())
