module rtmps-edge

go 1.26
