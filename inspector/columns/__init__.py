"""The column path: blocks of records in, batches of findings out, by compiled code over arrays.

It knows nothing of its own about DCE/RPC. The scalar decoder (`inspector.wire`) says once what a payload does to an
association, and that is kept as a transition of an automaton (`inspector.columns.automaton`); compiled code
(`inspector.columns.engine`) follows the connections, looks payloads and transitions up and writes down what they
end in. Whatever is not plain and simple - bytes out of order, lost or sent twice with a difference, several
PDUs in a segment, more questions than one at a time - is handed over with its connection to the scalar path, for
good. So both paths agree by construction, and a property test says that they do.
"""
