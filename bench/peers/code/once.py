# SPDX-License-Identifier: Apache-2.0
"""A fresh process for one run, as Carrier's runtime has it: `once.py MODULE.FUNCTION EVENT`, the event on the
command line, the result on standard output. Carrier puts a container around it; this does not."""

import importlib
import json
import sys

module, _, function = sys.argv[1].rpartition(".")
print(json.dumps(getattr(importlib.import_module(module), function)(json.loads(sys.argv[2]), None)))
