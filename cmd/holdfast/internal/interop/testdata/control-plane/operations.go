package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acmpca"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/rolesanywhere"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// callAll calls every operation of the service models and prints a line with the
// service, the operation and the code of the error, or OK.
func callAll(ctx context.Context, cfg aws.Config) error {
	cfg.APIOptions = append(cfg.APIOptions, func(s *middleware.Stack) error {
		_, _ = s.Initialize.Remove("OperationInputValidation") // the emulator validates
		return nil
	})
	for _, service := range []struct {
		name   string
		client any
	}{
		{"rolesanywhere", rolesanywhere.NewFromConfig(cfg)}, {"iam", iam.NewFromConfig(cfg)}, {"sts", sts.NewFromConfig(cfg)},
		{"cloudtrail", cloudtrail.NewFromConfig(cfg)}, {"acm-pca", acmpca.NewFromConfig(cfg)},
	} {
		client := reflect.ValueOf(service.client)
		for i := range client.NumMethod() {
			name, method := client.Type().Method(i).Name, client.Method(i)
			t := method.Type()
			if t.NumIn() != 3 || t.NumOut() != 2 || !strings.HasSuffix(t.In(1).String(), "."+name+"Input") {
				continue // Options
			}
			in := reflect.New(t.In(1).Elem())
			fill(in.Elem(), 0)
			bounded, cancel := context.WithTimeout(ctx, time.Minute)
			out := method.Call([]reflect.Value{reflect.ValueOf(bounded), in})
			cancel()
			code := "OK"
			if err, _ := out[1].Interface().(error); err != nil {
				var api smithy.APIError
				if !errors.As(err, &api) {
					return fmt.Errorf("%s %s: %w", service.name, name, err)
				}
				code = api.ErrorCode()
			}
			fmt.Println(service.name, name, code)
		}
	}
	return nil
}

// fill sets the texts and required structures of an input, so that it can be sent.
func fill(v reflect.Value, depth int) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanSet() || depth > 3 {
			continue
		}
		switch f.Kind() {
		case reflect.Pointer:
			switch f.Type().Elem().Kind() {
			case reflect.String:
				f.Set(reflect.ValueOf(aws.String("example")))
			case reflect.Struct:
				if f.Type().Elem() != reflect.TypeFor[time.Time]() {
					f.Set(reflect.New(f.Type().Elem()))
					fill(f.Elem(), depth+1)
				}
			}
		case reflect.String:
			f.SetString("example")
		}
	}
}
